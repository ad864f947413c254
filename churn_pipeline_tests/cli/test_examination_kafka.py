"""`doctor` on Kafka: one line without it, one fault where the broker is away, everything where it answers."""

import time

import pytest

from churn_pipeline import deployments
from churn_pipeline.cli.examination_kafka import kafka_findings
from churn_pipeline.resources.topics.embedded import LIMITS, EmbeddedBroker
from churn_pipeline_tests.kafka.fixtures import create_topic
from churn_pipeline_tests.kafka.secured import PASSWORDS
from churn_pipeline_tests.resources.topics.builders import numbered, produce

TOPICS = {"kafka_topic": "customers", "kafka_predictions": "predictions", "kafka_dead_letters": "dead-letters"}


@pytest.fixture
def look(tmp_path):
    """Status by subject, and everything that was said, of a deployment with these settings."""

    def found(**settings):
        findings = kafka_findings(deployments.test(tmp_path / "home", **settings))
        assert not (tmp_path / "home").exists()
        said = "\n".join(f"{finding.found} {finding.fix}" for finding in findings)
        return {finding.subject: finding.status for finding in findings}, said

    return found


def test_who_uses_no_kafka_is_told_so_in_a_line(look):
    assert look() == ({"kafka": "ok"}, "Not used: KAFKA_BOOTSTRAP_SERVERS is not set. ")


@pytest.mark.parametrize("settings", [TOPICS, {"source": "kafka:customers"}])
def test_a_topic_without_a_broker_is_a_fault(look, settings):
    status, said = look(**settings)
    assert status == {"kafka": "fault"} and "KAFKA_BOOTSTRAP_SERVERS is not set, and a topic is needed" in said


def test_a_broker_that_is_away_is_one_fault_in_time(look):
    started = time.monotonic()
    status, said = look(kafka_servers="127.0.0.1:9", kafka_timeout="1", **TOPICS)
    assert status == {"kafka": "fault"} and "127.0.0.1:9 gave no answer in time" in said
    assert time.monotonic() - started < 5


def test_a_wrong_setting_of_the_connection_is_a_fault(look):
    status, said = look(kafka_servers="127.0.0.1:9", kafka_protocol="SASL_SSL", **TOPICS)
    assert status == {"kafka": "fault"} and "KAFKA_SASL_MECHANISM is not set" in said


def test_the_embedded_broker_is_told_with_its_limits_lag_and_topics_yet_to_come(look):
    with EmbeddedBroker() as broker:
        produce(broker.bootstrap, "customers", numbered(5))
        status, said = look(kafka_servers=broker.bootstrap, **TOPICS)
        again, _ = look(kafka_servers=broker.bootstrap, **TOPICS)
    assert status == {
        "kafka": "look",
        "customer topic": "ok",
        "predictions topic": "look",
        "dead letter topic": "look",
        "lag": "ok",
        "publishing": "ok",
    }
    assert all(limit in said for limit in LIMITS) and "5 messages wait" in said
    assert again == status, "looking made a topic"


def test_a_source_that_is_a_topic_is_looked_at_too(look):
    with EmbeddedBroker() as broker:
        produce(broker.bootstrap, "shop", numbered(5))
        status, said = look(kafka_servers=broker.bootstrap, source="kafka:shop")
    assert status == {"kafka": "look", "customer topic": "ok", "lag": "ok"} and "shop: 4 partitions" in said


def test_a_cluster_that_has_everything_is_in_order(look, make_topic, kafka_broker):
    names = {setting: make_topic(2) for setting in TOPICS}
    produce(kafka_broker.bootstrap, names["kafka_topic"], numbered(7))
    status, said = look(kafka_servers=kafka_broker.bootstrap, **names)
    assert set(status.values()) == {"ok"} and {"lag", "publishing", "permissions"} <= status.keys()
    assert "7 messages wait" in said and f"Write on topic {names['kafka_predictions']}" in said


def test_what_keeps_the_next_batch_from_being_planned_is_a_fault(look, make_topic, kafka_broker):
    name = make_topic()
    produce(kafka_broker.bootstrap, name, numbered(3))
    status, said = look(kafka_servers=kafka_broker.bootstrap, kafka_topic=name, kafka_start='{"0": 5}')
    assert status["lag"] == "fault" and "cannot begin at offset 5" in said


def test_a_user_without_rights_learns_every_permission_that_is_missing_and_no_secret_is_shown(look, secured_broker):
    for name in TOPICS.values():
        create_topic(secured_broker.bootstrap, name)
    servers = secured_broker.client("SASL_PLAINTEXT")["bootstrap.servers"]
    door = {"kafka_servers": servers, "kafka_protocol": "SASL_PLAINTEXT", "kafka_mechanism": "PLAIN"}
    guest = {**door, **TOPICS, "kafka_username": "guest", "kafka_password": PASSWORDS["guest"]}
    status, said = look(**guest)
    assert (status["kafka"], status["customer topic"], status["permissions"]) == ("ok", "fault", "fault")
    for what in ("Read on topic customers", "Write on topic predictions", "Read on group churn-pipeline"):
        assert f"no {what}" in said
    wrong, also_said = look(**{**guest, "kafka_password": "guessed"})
    assert wrong == {"kafka": "fault"} and "refused its brokers and topics" in also_said
    assert not any(secret in said + also_said for secret in (*PASSWORDS.values(), "guessed"))
    churn, _ = look(**{**guest, "kafka_username": "churn", "kafka_password": PASSWORDS["churn"]})
    assert churn["permissions"] == "ok"
