"""A schema registry is asked over HTTP, and every way in which it does not answer is an error that says what to do."""

import ssl
import subprocess
from pathlib import Path

import pytest

from churn_pipeline.deployments import Settings
from churn_pipeline.deployments.fields import SettingInvalid
from churn_pipeline.resources.customer_sources.schema_registry import (
    RegisteredSchema,
    SchemaRegistry,
    SchemaRegistryRefused,
    SchemaRegistryUnreachable,
)
from churn_pipeline.resources.topics.connection import ConnectionSettingsWrong
from churn_pipeline_tests.resources.customer_sources.registry_fake import FakeRegistry


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


def test_a_schema_is_had_by_its_id_and_is_avro_if_nothing_else_is_said(fake):
    avro, jsonschema = fake.register("{}"), fake.register("{}", kind="JSON")
    registry = SchemaRegistry(fake.url + "/")
    assert registry.schema(avro) == RegisteredSchema("AVRO", "{}", [])
    assert registry.schema(jsonschema) == RegisteredSchema("JSON", "{}", [])


def test_an_id_that_the_registry_does_not_know_is_none(fake):
    assert SchemaRegistry(fake.url).schema(7) is None


def test_a_schema_comes_with_those_that_it_names_each_once_and_after_those_that_it_names_itself(fake):
    fake.register('"country"', subject="country")
    fake.register('"address"', subject="address", references=[("country", 1)])
    schema_id = fake.register('"customer"', references=[("address", 1), ("country", 1)])
    schema = SchemaRegistry(fake.url).schema(schema_id)
    assert schema == RegisteredSchema("AVRO", '"customer"', ['"country"', '"address"'])
    assert len(fake.asked) == 3


def test_a_user_is_let_in_by_password_and_no_other_is(fake):
    fake.user = ("churn", "päss:word")
    schema_id = fake.register("{}")
    assert SchemaRegistry(fake.url, "churn", "päss:word").schema(schema_id)
    for registry in (SchemaRegistry(fake.url), SchemaRegistry(fake.url, "churn", "wrong-secret")):
        with pytest.raises(SchemaRegistryRefused, match=r"HTTP 401.*SCHEMA_REGISTRY_USERNAME") as refusal:
            registry.schema(schema_id)
        assert "wrong-secret" not in str(refusal.value) + repr(registry)


def test_a_user_without_permission_is_refused(fake):
    fake.answer = (403, b"")
    with pytest.raises(SchemaRegistryRefused, match="HTTP 403"):
        SchemaRegistry(fake.url, "guest", "secret").schema(1)


def test_a_password_is_not_sent_to_where_the_registry_redirects(fake):
    with FakeRegistry() as elsewhere:
        schema_id = elsewhere.register("{}")
        fake.moved_to = elsewhere.url
        assert SchemaRegistry(fake.url, "churn", "secret").schema(schema_id)
        assert fake.authorizations != [None]
        assert elsewhere.authorizations == [None]


def test_a_registry_that_is_down_is_unreachable(fake):
    url = fake.url
    fake.close()
    with pytest.raises(SchemaRegistryUnreachable, match=rf"{url} .*refused.*SCHEMA_REGISTRY_URL"):
        SchemaRegistry(url).schema(1)


def test_a_registry_that_is_silent_is_unreachable_after_the_timeout(fake):
    fake.silent = True
    with pytest.raises(SchemaRegistryUnreachable, match=r"within 0\.2 s \(.*timed out"):
        SchemaRegistry(fake.url, timeout_seconds=0.2).schema(1)


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>Welcome</html>"),
        (200, b'{"schema": 7}'),
        (200, b"\xff"),
        (200, b"[" * 100_000),
        (404, b"<html>No such page</html>"),
        (404, b'{"error_code":404,"message":"HTTP 404 Not Found"}'),
        (500, b'{"error_code":50001}'),
        (503, b""),
        (418, b""),
    ],
    ids=lambda answer: f"{answer[0]} {answer[1][:16]!r}",
)
def test_an_answer_that_is_no_registrys_never_passes_for_an_unknown_id(fake, answer):
    fake.answer = answer
    with pytest.raises(SchemaRegistryUnreachable, match="SCHEMA_REGISTRY_URL"):
        SchemaRegistry(fake.url).schema(1)


@pytest.mark.parametrize(
    "url", ["localhost:8081", "file:///etc/passwd", "http://", "http://a b", "http://[", "http://a/?b", "http://a:b"]
)
def test_an_address_that_is_none_is_refused_before_anything_is_asked(url):
    with pytest.raises(ConnectionSettingsWrong, match="SCHEMA_REGISTRY_URL"):
        SchemaRegistry(url).schema(1)


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(ConnectionSettingsWrong, match="SCHEMA_REGISTRY_PASSWORD") as refusal:
        SchemaRegistry("http://churn:secret@localhost:8081").schema(1)
    assert "secret" not in str(refusal.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """PEM file of a key and of a certificate that it signed itself, for 127.0.0.1."""
    pem = tmp_path_factory.mktemp("tls") / "registry.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=registry"
    command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {pem} -out {pem}.crt"
    subprocess.run(command.split(), check=True, capture_output=True)
    pem.write_text(pem.read_text() + Path(f"{pem}.crt").read_text())
    return pem


def test_a_registry_with_a_certificate_is_trusted_by_who_signed_it_and_not_otherwise(certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with FakeRegistry(tls) as fake:
        schema_id = fake.register("{}")
        assert SchemaRegistry(fake.url, ca_file=certificate).schema(schema_id)
        with pytest.raises(SchemaRegistryUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            SchemaRegistry(fake.url).schema(schema_id)


def test_a_file_that_holds_no_certificates_is_named(tmp_path):
    (tmp_path / "empty.pem").write_text("")
    for file in (tmp_path / "empty.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConnectionSettingsWrong, match=file.name):
            SchemaRegistry("https://localhost:1", ca_file=file).schema(1)


def test_settings_name_the_registry_and_keep_its_password_out_of_sight():
    variables = {
        "CHURN_KAFKA_FORMAT": "avro",
        "SCHEMA_REGISTRY_URL": " http://registry:8081 ",
        "SCHEMA_REGISTRY_USERNAME": "churn",
        "SCHEMA_REGISTRY_PASSWORD": "secret",
        "KAFKA_SSL_CA_LOCATION": "ca.pem",
        "CHURN_KAFKA_TIMEOUT": "7",
    }
    registry = Settings.from_environment(variables).schema_registry()
    assert registry == SchemaRegistry("http://registry:8081", "churn", "secret", Path("ca.pem"), 7.0)
    assert "secret" not in repr(registry)


@pytest.mark.parametrize("written", ["avro", "json_schema"])
def test_a_format_that_needs_a_registry_says_so(written):
    with pytest.raises(SettingInvalid, match="SCHEMA_REGISTRY_URL is not set"):
        Settings.from_environment({"CHURN_KAFKA_FORMAT": written}).message_format()


def test_a_format_that_is_none_is_refused_with_the_nearest_one():
    with pytest.raises(SettingInvalid, match=r"CHURN_KAFKA_FORMAT is 'jsonschema'.*json_schema.*Use one of"):
        Settings.from_environment({"CHURN_KAFKA_FORMAT": "jsonschema"}).message_format()
