"""Topics are read and published to through every door of a secured broker, and who is refused learns what to do."""

import time

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from churn_pipeline.resources.topics.base import TopicRefused
from churn_pipeline.resources.topics.connection import MECHANISMS, KafkaConnection
from churn_pipeline.resources.topics.kafka_publishing import KafkaPublisher
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline_tests.kafka.fixtures import create_topic
from churn_pipeline_tests.kafka.secured import KEY_PASSWORD, PASSWORDS, token_endpoint
from churn_pipeline_tests.resources.topics.builders import (
    batch,
    everything,
    numbered,
    outgoing,
    produce,
    ranges,
    settle,
    values,
    wait_for,
)

SECRETS = (*PASSWORDS.values(), KEY_PASSWORD, "token-secret", "wrong-secret")
SASL = [(protocol, mechanism) for protocol in ("SASL_PLAINTEXT", "SASL_SSL") for mechanism in MECHANISMS]


@pytest.fixture(scope="module")
def tokens():
    with token_endpoint(secret="token-secret") as url:
        yield url


@pytest.fixture
def connect(secured_broker, tokens):
    def connection(protocol, mechanism=None, user="churn", **changes):
        keys = secured_broker.keys
        own = {"security_protocol": protocol, "sasl_mechanism": mechanism, "timeout_seconds": 3.0}
        if mechanism == "OAUTHBEARER":
            own |= {"oauth_token_url": tokens, "oauth_client_id": user, "oauth_client_secret": "token-secret"}
        elif mechanism:
            own |= {"username": user, "password": PASSWORDS[user]}
        if "SSL" in protocol:
            own["tls_ca_file"] = keys / "ca.pem"
        if protocol == "SSL":
            own |= {"tls_certificate_file": keys / f"{user}.pem", "tls_key_file": keys / f"{user}.key"}
            own["tls_key_password"] = KEY_PASSWORD
        return KafkaConnection(secured_broker.client(protocol)["bootstrap.servers"], **{**own, **changes})

    return connection


@pytest.fixture
def names(secured_broker):
    """Topics with three customers and with no predictions."""
    made = [create_topic(secured_broker.bootstrap, f"{name}-{time.time_ns()}") for name in ("customers", "predictions")]
    produce(secured_broker.bootstrap, made[0], numbered(3))
    wait_for(secured_broker.bootstrap, made[1])
    return made


def publisher(connection):
    return KafkaPublisher(connection, "secured", patience_seconds=8)


def check_says_what_to_do(error, what):
    said = str(error.value)
    assert what in said
    assert "Correct user, password or certificates, or give the user the permission." in said
    assert not [secret for secret in SECRETS if secret in said]


@pytest.mark.parametrize(("protocol", "mechanism"), [*SASL, ("SSL", None)])
def test_topics_are_read_and_published_to(secured_broker, connect, names, protocol, mechanism):
    customers, predictions = names
    connection = connect(protocol, mechanism)
    topic = KafkaTopic(connection, customers)
    assert topic.watermarks().topic_id
    assert values(topic.read(ranges(customers, {0: (0, 3)}))) == numbered(3)
    given = batch(customers, {0: (0, 3)})
    sent = [publisher(connection).publish(given, outgoing(predictions, b"a")) for _ in range(2)]
    assert sent == [1, None]
    settle(secured_broker.bootstrap, predictions)
    assert everything(KafkaTopic(connection, predictions)) == [b"a"]


@pytest.mark.parametrize(
    ("protocol", "mechanism", "wrong"),
    [
        ("SASL_PLAINTEXT", "PLAIN", {"password": "wrong-secret"}),
        ("SASL_SSL", "SCRAM-SHA-256", {"password": "wrong-secret"}),
        ("SASL_SSL", "SCRAM-SHA-512", {"username": "nobody"}),
        ("SASL_SSL", "OAUTHBEARER", {"oauth_client_secret": "wrong-secret"}),
    ],
)
def test_a_wrong_user_or_password_is_refused(connect, names, protocol, mechanism, wrong):
    connection = connect(protocol, mechanism, **wrong)
    with pytest.raises(TopicRefused) as error:
        KafkaTopic(connection, names[0]).watermarks()
    check_says_what_to_do(error, f"refused where topic '{names[0]}' begins and ends")


def test_a_wrong_password_is_refused_in_publishing_too(connect, names):
    wrong = connect("SASL_SSL", "SCRAM-SHA-512", password="wrong-secret")
    with pytest.raises(TopicRefused) as error:
        KafkaPublisher(wrong, "secured", patience_seconds=2).publish(batch(names[0], {0: (0, 3)}), [])
    check_says_what_to_do(error, "refused the offsets that group 'secured' committed")


def test_a_broker_whose_certificate_another_authority_signed_is_refused(connect, secured_broker, names):
    connection = connect("SASL_SSL", "PLAIN", tls_ca_file=secured_broker.keys / "stranger.pem")
    with pytest.raises(TopicRefused) as error:
        KafkaTopic(connection, names[0]).watermarks()
    check_says_what_to_do(error, "certificate")


@pytest.fixture
def permit(secured_broker):
    """Give the guest permissions, one after the other; they are taken back at the end."""
    admin = AdminClient({"bootstrap.servers": secured_broker.bootstrap})
    given = []

    def give(kind, name, operation):
        anywhere = ("User:guest", "*", operation, AclPermissionType.ALLOW)
        given.append((kind, name, ResourcePatternType.LITERAL, *anywhere))
        (done,) = admin.create_acls([AclBinding(*given[-1])]).values()
        done.result()

    yield give
    for done in admin.delete_acls([AclBindingFilter(*binding) for binding in given]).values():
        done.result()


def test_each_permission_that_is_missing_is_named_until_none_is(connect, names, permit):
    customers, predictions = names
    guest = connect("SASL_PLAINTEXT", "PLAIN", "guest")
    topic, given = KafkaTopic(guest, customers, "secured"), batch(customers, {0: (0, 3)})

    def check_refused(ask, what):
        with pytest.raises(TopicRefused) as error:
            ask()
        check_says_what_to_do(error, what)

    def publish():
        return publisher(guest).publish(given, outgoing(predictions, b"a"))

    def read():
        return values(topic.read(ranges(customers, {0: (0, 3)})))

    check_refused(topic.watermarks, "Topic authorization failed")
    check_refused(publish, f"{customers}: Broker: Topic authorization failed")
    permit(ResourceType.TOPIC, customers, AclOperation.READ)
    check_refused(read, "Group authorization failed")
    permit(ResourceType.GROUP, "secured", AclOperation.READ)
    assert read() == numbered(3)
    check_refused(publish, "Transactional Id authorization failed")
    permit(ResourceType.TRANSACTIONAL_ID, f"secured:{customers}", AclOperation.WRITE)
    check_refused(publish, f"{predictions}: Broker: Topic authorization failed")
    permit(ResourceType.TOPIC, predictions, AclOperation.WRITE)
    assert publish() == 1
