"""`produce` and `broker`: messages arrive, and whoever is stopped goes on where it ended."""

import json
import re
import signal
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from churn_pipeline.resources.topics.embedded import LIMITS, EmbeddedBroker
from churn_pipeline_tests.builders import customer_file
from churn_pipeline_tests.cli.conftest import Shop
from churn_pipeline_tests.resources.topics.messages_sent import messages_in


@dataclass(frozen=True)
class StreamShop(Shop):
    """A shop with a broker, and customers who are in no topic yet."""

    bootstrap: str = ""

    @property
    def settings(self):
        return {**super().settings, "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap, "CHURN_KAFKA_TOPIC": "customers"}


@pytest.fixture
def embedded():
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def shop(embedded, tmp_path):
    customers = customer_file(tmp_path / "customers.csv", 200, seed=2)
    return StreamShop(tmp_path, customers, bootstrap=embedded.bootstrap)


def test_every_row_becomes_a_message_of_its_customer_with_numbers_as_numbers(shop, embedded):
    value = shop.value("produce", shop.customers, "--rate", 0)
    found = messages_in(embedded.bootstrap, "customers")
    assert (value["messages"], value["malformed"], value["stopped"]) == (200, 0, False)
    assert {int(p): part["messages"] for p, part in value["partitions"].items()} == Counter(m.partition for m in found)
    records = [json.loads(message.value) for message in found]
    assert [message.key.decode() for message in found] == [record["customerID"] for record in records]
    assert all(type(record["tenure"]) is int for record in records)
    assert all(isinstance(record["MonthlyCharges"], int | float) for record in records)


def test_without_a_file_customers_are_made_up(shop, embedded):
    assert shop.call("produce", "--count", 30, "--rate", 0, "--key", "").exit_code == 0
    found = messages_in(embedded.bootstrap, "customers")
    assert len({json.loads(message.value)["customerID"] for message in found}) == 30
    assert {message.key for message in found} == {None}


def test_options_reach_the_messages(shop, embedded):
    before = datetime.now(UTC)
    answer = shop.call(
        "produce", shop.customers, "--topic", "other", "--count", 450, "--rate", 0, "--envelope", "data",
        "--key", "Contract", "--event-times", 10,
    )  # fmt: skip
    assert answer.exit_code == 0 and answer.stdout.startswith("450 messages sent to topic other.\n")
    found = sorted(messages_in(embedded.bootstrap, "other"), key=lambda message: message.number)
    assert [message.number for message in found] == list(range(450)) and found[0].value == found[400].value
    assert all(json.loads(message.value)["data"]["Contract"].encode() == message.key for message in found)
    times = [message.timestamp for message in found]
    assert times == sorted(times)
    assert abs(before - timedelta(hours=10) - datetime.fromtimestamp(times[0] / 1000, UTC)) < timedelta(minutes=1)


@pytest.mark.slow
def test_the_same_seed_spoils_the_same_messages(shop, embedded):
    for topic, seed in (("a", 1), ("b", 1), ("c", 2)):
        told = shop.value("produce", shop.customers, "--topic", topic, "--rate", 0, "--malformed", 0.2, "--seed", seed)
        assert (
            told["malformed"] == sum(told["ways"].values()) == sum(p["malformed"] for p in told["partitions"].values())
        )
    a, b, c = ({m.number: (m.value, m.malformed) for m in messages_in(embedded.bootstrap, topic)} for topic in "abc")
    assert a == b != c and 20 < sum(malformed is not None for _, malformed in a.values()) < 60


@pytest.mark.slow
def test_a_producer_that_was_killed_goes_on_where_its_checkpoint_stands_and_leaves_no_gap(shop, embedded):
    checkpoint = shop.folder / "checkpoint.json"
    arguments = ("produce", shop.customers, "--count", 5_000, "--malformed", 0.1, "--checkpoint", checkpoint)
    for _ in range(2):
        noted = reached(checkpoint)
        with shop.program(*arguments, "--rate", 1_000) as process:
            while reached(checkpoint) == noted:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.communicate()
    first = reached(checkpoint)
    value = shop.value(*arguments, "--rate", 0)
    numbers = [message.number for message in messages_in(embedded.bootstrap, "customers")]
    assert 0 < first == value["first"] and value["end"] == reached(checkpoint) == 5_000
    assert set(numbers) == set(range(5_000))
    # What was sent after the last acknowledgement before a kill comes again; of three attempts, at most three times.
    assert max(Counter(numbers).values()) <= 3


def reached(checkpoint) -> int:
    return json.loads(checkpoint.read_bytes())["acknowledged"] if checkpoint.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_notes_and_says_exactly_where_it_ended(shop, embedded, number):
    checkpoint = shop.folder / "checkpoint.json"
    with shop.program("produce", shop.customers, "--rate", 100, "--checkpoint", checkpoint) as process:
        while not reached(checkpoint):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(number)
        out, _ = process.communicate()
    sent = len(messages_in(embedded.bootstrap, "customers"))
    assert process.returncode == 130 and sent == reached(checkpoint) < 200
    assert f"Stopped after {sent} of 200 messages. The same command goes on there." in out
    assert shop.value("produce", shop.customers, "--rate", 0, "--checkpoint", checkpoint)["messages"] == 200 - sent
    assert "All 200 were acknowledged before" in shop.call("produce", shop.customers, "--checkpoint", checkpoint).stdout
    assert len(messages_in(embedded.bootstrap, "customers")) == 200


def test_a_checkpoint_of_something_else_is_wrong_usage_and_nothing_is_sent(shop, embedded):
    checkpoint = shop.folder / "checkpoint.json"
    arguments = ("produce", shop.customers, "--rate", 0, "--checkpoint", checkpoint)
    assert shop.call(*arguments).exit_code == 0
    other = shop.call(*arguments, "--seed", 5, "--malformed", 0.5)
    assert other.exit_code == 2 and "malformed, seed differ" in other.stderr
    checkpoint.write_text("{}")
    assert shop.call(*arguments).exit_code == 2
    assert len(messages_in(embedded.bootstrap, "customers")) == 200


def test_a_checkpoint_that_cannot_be_written_is_an_error(shop):
    (shop.folder / "file").touch()
    failed = shop.call("produce", shop.customers, "--rate", 0, "--checkpoint", shop.folder / "file" / "checkpoint")
    assert failed.exit_code == 7 and "cannot be written" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "said"),
    [
        ((), {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "CHURN_KAFKA_TIMEOUT": "1"}, 3, "127.0.0.1:1 gave no answer"),
        ((), {"KAFKA_BOOTSTRAP_SERVERS": ""}, 2, "churn-pipeline broker"),
        ((), {"CHURN_KAFKA_TOPIC": ""}, 2, "CHURN_KAFKA_TOPIC"),
        (("--key", "tenur"), {}, 2, "nearest: 'tenure'"),
        (("--malformed", "2"), {}, 2, "--malformed"),
    ],
)
def test_what_cannot_be_sent_is_said_with_a_code(shop, arguments, settings, code, said):
    result = shop.call("produce", shop.customers, *arguments, **settings)
    assert result.exit_code == code and said in result.stderr and result.stdout == ""


def test_a_file_that_is_missing_is_named(shop):
    result = shop.call("produce", shop.folder / "custmers.csv")
    assert result.exit_code == 3 and "customers.csv" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_broker_says_where_it_is_and_its_limits_and_ends_well_when_asked(shop, number):
    with shop.program("broker") as process:
        bootstrap = re.fullmatch(r"export KAFKA_BOOTSTRAP_SERVERS=(\S+)\n", process.stdout.readline())[1]
        assert shop.value("produce", "--rate", 0, KAFKA_BOOTSTRAP_SERVERS=bootstrap)["messages"] == 1_000
        process.send_signal(number)
        # Not `communicate`, which passes over what `readline` has taken in already.
        out, err = process.stdout.read(), process.stderr.read()
    assert (process.returncode, err) == (0, "")
    assert all(limit in out for limit in LIMITS) and "gone" in out
