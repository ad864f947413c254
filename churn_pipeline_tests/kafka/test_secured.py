"""The secured broker lets in whom it should, and nobody else."""

import time

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from churn_pipeline_tests.kafka.fixtures import create_topic
from churn_pipeline_tests.kafka.secured import KEY_PASSWORD, MECHANISMS, token_endpoint

DOORS = [(protocol, mechanism) for protocol in ("SASL_PLAINTEXT", "SASL_SSL") for mechanism in MECHANISMS]


def refusals(settings: dict[str, str]) -> set[int]:
    """Why a client is not let in: the codes of the errors that it reports while it cannot list topics."""
    seen: set[int] = set()
    client = Producer({**settings, "log_level": 0, "error_cb": lambda error: seen.add(error.code())})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=1)
    client.poll(0)
    return seen


@pytest.mark.parametrize(("protocol", "mechanism"), [*DOORS, ("SSL", None)])
def test_a_known_user_is_let_in(secured_broker, protocol, mechanism):
    assert Producer(secured_broker.client(protocol, mechanism)).list_topics(timeout=10).brokers


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_wrong_password_is_refused(secured_broker, mechanism):
    settings = {**secured_broker.client("SASL_SSL", mechanism), "sasl.password": "wrong"}
    assert KafkaError._AUTHENTICATION in refusals(settings)


def test_a_certificate_of_another_authority_is_refused(secured_broker):
    stranger = {
        "ssl.certificate.location": str(secured_broker.keys / "stranger.pem"),
        "ssl.key.location": str(secured_broker.keys / "stranger.key"),
        "ssl.key.password": KEY_PASSWORD,
    }
    assert refusals({**secured_broker.client("SSL"), **stranger}) & {KafkaError._SSL, KafkaError._TRANSPORT}


def test_a_client_that_trusts_another_authority_refuses_the_broker(secured_broker):
    other = {"ssl.ca.location": str(secured_broker.keys / "stranger.pem")}
    assert KafkaError._SSL in refusals({**secured_broker.client("SASL_SSL", "PLAIN"), **other})


def test_a_known_user_without_rights_may_not_see_a_topic(secured_broker):
    topic = create_topic(secured_broker.bootstrap, f"customers-{time.time_ns()}")
    for user, error in {"churn": None, "guest": KafkaError.TOPIC_AUTHORIZATION_FAILED}.items():
        client = Producer(secured_broker.client("SASL_PLAINTEXT", "PLAIN", user))
        seen = client.list_topics(topic, timeout=10).topics[topic].error
        assert (seen and seen.code()) == error, user


@pytest.mark.parametrize(("secret", "let_in"), [("token-secret", True), ("wrong", False)])
def test_a_token_is_had_from_the_endpoint_with_the_right_secret_only(secured_broker, secret, let_in):
    with token_endpoint() as url:
        settings = {
            "bootstrap.servers": secured_broker.client("SASL_SSL")["bootstrap.servers"],
            "ssl.ca.location": secured_broker.client("SASL_SSL")["ssl.ca.location"],
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": "churn",
            "sasl.oauthbearer.client.secret": secret,
            "sasl.oauthbearer.token.endpoint.url": url,
        }
        if let_in:
            assert Producer(settings).list_topics(timeout=10).brokers
        else:
            assert KafkaError._AUTHENTICATION in refusals(settings)
