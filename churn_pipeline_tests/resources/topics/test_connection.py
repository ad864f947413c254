"""Settings of the connection become librdkafka's, or an error that names the setting and shows no secret."""

import dataclasses

import pytest

from churn_pipeline.resources.topics.base import BrokerUnreachable
from churn_pipeline.resources.topics.connection import ConnectionSettingsWrong, Deadline, KafkaConnection
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic

PLAIN = KafkaConnection("localhost:9092")
SECRET = "a secret"
PASSWORD = dataclasses.replace(
    PLAIN, security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN", username="churn", password=SECRET
)
TOKEN = dataclasses.replace(
    PLAIN,
    security_protocol="SASL_SSL",
    sasl_mechanism="OAUTHBEARER",
    oauth_token_url="https://id.example.com/token",
    oauth_client_id="churn",
    oauth_client_secret=SECRET,
)


def test_a_broker_without_security_needs_its_address_only():
    assert PLAIN.configuration() == {"bootstrap.servers": "localhost:9092", "security.protocol": "PLAINTEXT"}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_and_a_password_are_handed_on(mechanism):
    got = dataclasses.replace(PASSWORD, sasl_mechanism=mechanism).configuration()
    assert got["sasl.mechanism"] == mechanism
    assert (got["sasl.username"], got["sasl.password"]) == ("churn", SECRET)


def test_a_token_is_fetched_from_the_endpoint():
    got = dataclasses.replace(TOKEN, oauth_scope="kafka").configuration()
    assert got["sasl.oauthbearer.method"] == "oidc"
    assert got["sasl.oauthbearer.token.endpoint.url"] == "https://id.example.com/token"
    assert (got["sasl.oauthbearer.client.id"], got["sasl.oauthbearer.client.secret"]) == ("churn", SECRET)
    assert got["sasl.oauthbearer.scope"] == "kafka"


def test_certificates_are_handed_on(tmp_path):
    names = {"tls_ca_file": "ca.pem", "tls_certificate_file": "churn.pem", "tls_key_file": "churn.key"}
    files = {name: tmp_path / file for name, file in names.items()}
    for file in files.values():
        file.touch()
    got = dataclasses.replace(PLAIN, security_protocol="SSL", tls_key_password=SECRET, **files).configuration()
    assert got["ssl.ca.location"] == str(tmp_path / "ca.pem")
    assert got["ssl.certificate.location"] == str(tmp_path / "churn.pem")
    assert (got["ssl.key.location"], got["ssl.key.password"]) == (str(tmp_path / "churn.key"), SECRET)


@pytest.mark.parametrize(
    ("connection", "change", "message"),
    [
        (PLAIN, {"bootstrap_servers": " "}, r"bootstrap_servers is empty\. Write host:port"),
        (PLAIN, {"security_protocol": "SASL_TLS"}, r"security_protocol is 'SASL_TLS' \(nearest: 'SASL_SSL'\)"),
        (PASSWORD, {"sasl_mechanism": None}, r"sasl_mechanism is not set\. Use one of PLAIN"),
        (PASSWORD, {"sasl_mechanism": "GSSAPI"}, r"sasl_mechanism is 'GSSAPI'\. Use one of PLAIN"),
        (PASSWORD, {"password": None}, "password is not set, and sasl_mechanism PLAIN needs it"),
        (TOKEN, {"oauth_token_url": None}, "oauth_token_url is not set, and sasl_mechanism OAUTHBEARER needs it"),
        (PLAIN, {"password": SECRET}, "password is set, and security_protocol PLAINTEXT would not use it"),
        (PASSWORD, {"tls_ca_file": "ca.pem"}, "tls_ca_file is set, and security_protocol SASL_PLAINTEXT would not"),
        (TOKEN, {"tls_ca_file": "/nowhere/ca.pem"}, "tls_ca_file is /nowhere/ca.pem, which cannot be read"),
        (PASSWORD, {"settings": {"sasl.password": SECRET}}, "settings has 'sasl.password', which is set elsewhere"),
    ],
)
def test_a_setting_that_cannot_be_is_named(connection, change, message):
    with pytest.raises(ConnectionSettingsWrong, match=message) as error:
        dataclasses.replace(connection, **change).configuration()
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "settings", [{"sasl.passwort": SECRET}, {"ssl.key.pem": SECRET}, {"socket.timeout.ms": SECRET}]
)
def test_what_librdkafka_does_not_accept_is_named_without_its_value(settings):
    connection = dataclasses.replace(PLAIN, security_protocol="SSL", settings=settings)
    with pytest.raises(ConnectionSettingsWrong, match="librdkafka does not accept") as error:
        KafkaTopic(connection, "customers").watermarks()
    assert SECRET not in str(error.value)


def test_what_reading_depends_on_cannot_be_set_to_something_else():
    connection = dataclasses.replace(PLAIN, settings={"isolation.level": "read_uncommitted"})
    with pytest.raises(ConnectionSettingsWrong, match=r"settings has 'isolation\.level'"):
        KafkaTopic(connection, "customers").watermarks()


def test_a_connection_shows_no_secret_of_its_own():
    for connection in (PASSWORD, TOKEN, dataclasses.replace(PLAIN, tls_key_password=SECRET, settings={"a": SECRET})):
        assert SECRET not in repr(connection)


def test_where_nobody_listens_is_an_error_in_time_that_says_so():
    connection = KafkaConnection("127.0.0.1:9", timeout_seconds=0.5)
    with pytest.raises(BrokerUnreachable, match=r"Kafka at 127\.0\.0\.1:9 gave no answer .*Connection refused"):
        KafkaTopic(connection, "customers").watermarks()


def test_a_deadline_gives_each_call_what_is_left_and_never_nothing():
    assert 0.9 < Deadline(1).left <= 1
    assert not Deadline(1).over
    assert Deadline(0).over
    assert Deadline(0).left > 0
