"""`replay-dead-letters`: says what it would send, asks, sends it once, and finishes what somebody had begun."""

from dataclasses import dataclass

import pytest
from click.testing import CliRunner

from churn_pipeline import deployments
from churn_pipeline.cli import replay_dead_letters as command
from churn_pipeline.cli.app import app
from churn_pipeline.resources.topics.embedded import EmbeddedBroker
from churn_pipeline_tests.cli.conftest import Shop, tree
from churn_pipeline_tests.failures import KafkaFailures


@dataclass(frozen=True)
class ReplayShop(Shop):
    """A shop with a broker, where messages of topic `customers` have failed."""

    bootstrap: str = ""

    @property
    def settings(self):
        return {**super().settings, "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap, "CHURN_KAFKA_TOPIC": "customers"}

    def replay(self, *arguments, **settings):
        return self.call("replay-dead-letters", *arguments, **settings)


@pytest.fixture
def shop(tmp_path):
    with EmbeddedBroker() as broker:
        yield ReplayShop(tmp_path, tmp_path / "customers.csv", bootstrap=broker.bootstrap)


@pytest.fixture
def failures(shop):
    found = KafkaFailures(shop.bootstrap, "customers", deployments.test(shop.home).table_store())
    found.fail("above_maximum", "above_maximum", "unscored")
    found.fail("tombstone", partition=1, value=None)
    return found


@pytest.fixture
def at_terminal(monkeypatch):
    monkeypatch.setattr(command, "at_terminal", lambda: True)


def test_a_dry_run_says_what_would_be_sent_and_changes_nothing(shop, failures):
    before = tree(shop.home)
    said = shop.replay("--dry-run")
    assert said.exit_code == 0, said.stderr
    assert "1 tombstone" in said.stdout and "3 messages (60 bytes) to send to topic customers." in said.stdout
    assert [line.split() for line in said.stdout.splitlines() if line.startswith(("above", "unscored"))] == [
        ["above_maximum", "2"],
        ["unscored", "1"],
    ]
    assert "no event time" in said.stdout and said.stdout.endswith("a dry run.\n")
    assert tree(shop.home) == before and failures.sent() == []


def test_what_is_found_is_sent_once(shop, failures):
    first, second = shop.replay(), shop.replay()
    assert "3 messages sent as replay-" in first.stdout and "The next batch" in first.stdout
    assert (second.exit_code, "there is nothing to replay." in second.stdout) == (0, True)
    assert failures.sent() == [("customers/0/0", 1), ("customers/0/1", 1), ("customers/0/2", 1)]


def test_filters_say_which(shop, failures):
    assert shop.value("replay-dead-letters", "--rule", "unscored", "--since", "2026-11-01")["to_send"] == 1
    assert shop.value("replay-dead-letters", "--until", "2026-11-01T12:00:00Z")["to_send"] == 0
    assert failures.sent() == [("customers/0/2", 1)]


def test_programs_are_told_the_same(shop, failures):
    planned = shop.value("replay-dead-letters", "--dry-run")
    done = shop.value("replay-dead-letters")
    assert planned["rules"] == done["rules"] == {"above_maximum": 2, "unscored": 1}
    assert planned["batches"] == done["batches"]
    assert [batch["left_out"] for batch in done["batches"]] == [{}, {"tombstone": 1}]
    assert planned["sent"] == {} and list(done["sent"].values()) == [3]


@pytest.mark.parametrize(("answer", "sent"), [("n\n", 0), ("", 0), ("y\n", 3)])
def test_a_person_is_asked_and_can_decline(shop, failures, at_terminal, answer, sent):
    said = CliRunner().invoke(app, ["replay-dead-letters"], env=shop.settings, input=answer)
    assert "Send 3 messages?" in said.stderr and "above_maximum" in said.stderr
    assert (said.exit_code, "Nothing was sent." in said.stdout) == (0, sent == 0)
    assert len(failures.sent()) == sent


def test_who_says_yes_beforehand_is_not_asked(shop, failures, at_terminal):
    assert "?" not in shop.replay("--yes").stderr
    assert len(failures.sent()) == 3


def test_what_somebody_had_begun_is_finished_first(shop, failures):
    failures.fail_with = OSError("the machine is gone")
    with pytest.raises(OSError):
        failures.run()
    assert "1 replay of 3 messages was begun" in shop.replay("--dry-run").stdout
    said = shop.replay()
    assert "3 messages finished as replay-" in said.stdout
    assert shop.value("replay-dead-letters")["unfinished"] == {}


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["--batch", "customers-1"], {}, "no batch 'customers-1' of topic customers"),
        (["--since", "yesterday"], {}, "no time"),
        ([], {"CHURN_KAFKA_TOPIC": ""}, "No topic is named."),
    ],
)
def test_what_cannot_be_understood_is_an_error_that_says_so(shop, failures, arguments, settings, said):
    found = shop.replay(*arguments, **settings)
    assert found.exit_code == 2 and said in found.stderr


def test_a_broker_that_is_down_is_an_error_in_words_and_claims_nothing(shop, failures):
    found = shop.replay(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9", CHURN_KAFKA_TIMEOUT="1")
    assert found.exit_code == 3 and "127.0.0.1:9 gave no answer" in found.stderr
    assert failures.replays().unfinished() == []
