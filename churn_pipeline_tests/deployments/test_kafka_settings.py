"""Settings of Kafka: what reaches the client, and what is said of a wrong one."""

import pytest

from churn_pipeline.deployments.fields import SettingInvalid
from churn_pipeline.deployments.kafka_settings import KafkaSettings

BROKER = {"kafka_servers": "broker:9092"}
DOOR = {**BROKER, "kafka_protocol": "SASL_SSL", "kafka_mechanism": "PLAIN", "kafka_username": "ann"}


@pytest.fixture
def pem(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("a certificate")
    return str(file)


def test_without_security_only_brokers_are_needed():
    assert KafkaSettings(**BROKER).connection().configuration() == {
        "bootstrap.servers": "broker:9092", "security.protocol": "PLAINTEXT",
    }  # fmt: skip


def test_user_password_and_authority_reach_the_client(pem):
    found = KafkaSettings(**DOOR, kafka_password="secret", kafka_ca=pem).connection().configuration()
    assert (found["sasl.username"], found["sasl.password"], found["ssl.ca.location"]) == ("ann", "secret", pem)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "KAFKA_BOOTSTRAP_SERVERS is not set"),
        ({**BROKER, "kafka_protocol": "SASL_PLAIN"}, r"KAFKA_SECURITY_PROTOCOL is 'SASL_PLAIN' \(nearest: "),
        (DOOR, "KAFKA_SASL_PASSWORD is not set, and KAFKA_SASL_MECHANISM PLAIN needs it"),
        ({**BROKER, "kafka_password": "secret"}, "KAFKA_SASL_PASSWORD is set, and KAFKA_SECURITY_PROTOCOL PLAINTEXT"),
        ({**DOOR, "kafka_password": "secret", "kafka_ca": "/nowhere.pem"}, "KAFKA_SSL_CA_LOCATION is /nowhere.pem"),
        ({**BROKER, "kafka_timeout": "soon"}, "CHURN_KAFKA_TIMEOUT is 'soon'"),
    ],
)
def test_a_wrong_connection_names_the_variable_and_no_secret(settings, said):
    with pytest.raises(SettingInvalid, match=said) as raised:
        KafkaSettings(**settings).connection()
    assert "'secret'" not in str(raised.value)


def test_the_authority_of_a_registry_does_not_disturb_a_broker_without_encryption(pem):
    settings = KafkaSettings(**BROKER, kafka_ca=pem, registry_url="https://registry")
    assert "ssl.ca.location" not in settings.connection().configuration()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kafka_start": "newest"}, "CHURN_KAFKA_START: 'newest'"),
        ({"kafka_retention_gap": "ignore"}, "CHURN_KAFKA_RETENTION_GAP is 'ignore'. Use one of fail, record"),
        ({"kafka_batch_messages": "0"}, "CHURN_KAFKA_BATCH_MESSAGES is '0'"),
        ({"kafka_batch_bytes": "1 GB"}, "CHURN_KAFKA_BATCH_BYTES is '1 GB'"),
    ],
)
def test_a_wrong_way_of_planning_names_the_variable(settings, said):
    with pytest.raises(SettingInvalid, match=said):
        KafkaSettings(**settings).planning_rules()


def test_limits_of_batches_and_messages_are_those_of_the_settings():
    settings = KafkaSettings(kafka_batch_messages="7", kafka_batch_bytes="100", kafka_message_bytes="50")
    rules = settings.planning_rules()
    assert (rules.messages, rules.bytes, settings.message_limits().bytes) == (7, 100, 50)
