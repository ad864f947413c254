"""The checker of accounts finds each violation that could be in one, and nothing in a right one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from churn_pipeline_tests.kafka.torture import checker
from churn_pipeline_tests.kafka.torture.faults import MOMENTS, Wanted

_FIRST, _SECOND = "customers-aaaaaaaaaaaa", "customers-bbbbbbbbbbbb"


def _line(partition, offset, number, batch, *, place="predictions", at=None, key="7590-VHVEG"):
    """The account of one offset: its row, and what was published of it, at the same offset unless it says another."""
    line = {"partition": partition, "offset": offset, "message": True, "key": key, "number": number}
    line |= {"malformed": "truncated" if place == "rejected" else None}
    line |= {name: [] for name in ("predictions", "rejected", "unscored", "published", "dead_letters")}
    line[place] = [batch]
    topic = "published" if place == "predictions" else "dead_letters"
    line[topic] = [{"at": [0, offset if at is None else at], "batch": batch}]
    return line


class Account:
    """Two batches over two partitions: a rejected message, an unscored one, and an offset that holds a marker."""

    def __init__(self, folder):
        self.folder = folder
        marker = _line(0, 3, None, _FIRST) | {"message": False, "key": None, "predictions": [], "published": []}
        self.history = [
            _line(0, 0, 0, _FIRST),
            _line(0, 1, 1, _FIRST, place="rejected"),
            _line(0, 2, 2, _FIRST),
            marker,
            _line(0, 4, 3, _SECOND),
            _line(1, 0, 4, _FIRST, place="unscored"),
            _line(1, 1, 5, _SECOND, key=None),
        ]
        self.ledger = [
            {"batch": _FIRST, "offsets": {"0": [0, 4], "1": [0, 1]}},
            {"batch": _SECOND, "offsets": {"0": [4, 5], "1": [1, 2]}},
        ]
        self.alerts = [self.alert(_FIRST), self.alert(_SECOND), self.alert(None, "failed", sensor=True)]
        self.runs = [{"daemon": "first", "run": "1", "batch": _FIRST, "status": "FAILURE"}]
        self.sent = 6

    @staticmethod
    def alert(batch, status="done", sensor=False):
        return {"batch": batch, "status": status, "sensor": sensor, "title": "Call list ready."}

    def at(self, partition, offset):
        return next(line for line in self.history if (line["partition"], line["offset"]) == (partition, offset))

    def write(self):
        for name in ("history", "ledger", "alerts", "runs"):
            text = "".join(json.dumps(line) + "\n" for line in getattr(self, name))
            (self.folder / f"{name}.jsonl").write_text(text)
        marks = {"messages_sent": self.sent, "partitions": {"0": [0, 5], "1": [0, 2]}}
        (self.folder / "watermarks.json").write_text(json.dumps(marks))

    def broken(self):
        """The rules that the checker finds broken."""
        self.write()
        return set(checker.check(self.folder).broken)


@pytest.fixture
def account(tmp_path):
    return Account(tmp_path)


def test_a_right_account_breaks_no_rule_and_is_counted(account):
    account.write()
    verdict = checker.check(account.folder)
    assert verdict.holds and not verdict.examples
    assert verdict.counts == {
        "batches": 2,
        "alerts of batches": 2,
        "alerts of sensors": 1,
        "runs": 1,
        "offsets": 7,
        "predictions": 4,
        "rejected": 1,
        "unscored": 1,
        "malformed": 1,
        "published": 4,
        "dead letters": 2,
    }


def _lose_an_offset(account):
    account.history.remove(account.at(0, 2))


def _lose_the_last_offset(account):
    account.history.pop()


def _repeat_an_offset(account):
    account.history.insert(1, account.at(0, 0))


def _invent_an_offset(account):
    account.history.append({**account.at(0, 3), "partition": 2})


def _send_one_more(account):
    account.sent += 1


def _leave_a_message_out(account):
    account.at(0, 2).update(predictions=[], published=[])


def _double_a_row(account):
    account.at(0, 2).update(predictions=[_FIRST, _FIRST])


def _put_a_message_in_two_tables(account):
    account.at(1, 0).update(predictions=[_FIRST])


def _make_a_row_of_a_marker(account):
    account.at(0, 3).update(predictions=[_FIRST])


def _score_a_malformed_message(account):
    account.at(0, 2).update(malformed="truncated")


def _reject_a_good_message(account):
    account.at(0, 1).update(malformed=None)


def _leave_a_gap(account):
    account.ledger[1]["offsets"]["1"] = [2, 3]


def _overlap(account):
    account.ledger[1]["offsets"]["0"] = [3, 5]


def _end_too_early(account):
    del account.ledger[1]["offsets"]["1"]


def _begin_too_late(account):
    account.ledger[0]["offsets"]["1"] = [1, 1]


def _name_a_partition_that_is_not_there(account):
    account.ledger[1]["offsets"]["7"] = [0, 4]


def _lose_a_batch(account):
    account.ledger.pop()


def _keep_a_row_of_another_batch(account):
    account.at(0, 4).update(predictions=[_FIRST], published=[{"at": [0, 4], "batch": _FIRST}])


def _publish_nothing(account):
    account.at(0, 0)["published"].clear()


def _publish_twice(account):
    account.at(0, 4)["published"].append({"at": [0, 9], "batch": _SECOND})


def _publish_for_another_batch(account):
    account.at(0, 4)["published"][0]["batch"] = _FIRST


def _publish_what_was_rejected(account):
    account.at(0, 1)["published"].append({"at": [0, 1], "batch": _FIRST})


def _write_no_dead_letter(account):
    account.at(1, 0)["dead_letters"].clear()


def _write_two_dead_letters(account):
    account.at(0, 1)["dead_letters"] *= 2


def _write_a_dead_letter_of_what_was_scored(account):
    account.at(0, 0)["dead_letters"].append({"at": [0, 9], "batch": _FIRST})


def _publish_a_later_message_first(account):
    account.at(0, 2)["published"][0]["at"] = [0, 7]


def _publish_a_customer_to_two_partitions(account):
    account.at(0, 4)["published"][0]["at"] = [1, 9]


def _announce_nothing(account):
    account.alerts.pop(0)


def _announce_twice(account):
    account.alerts.append(account.alert(_FIRST))


def _announce_a_failure(account):
    account.alerts.append(account.alert(_FIRST, "failed"))


def _announce_an_unknown_batch(account):
    account.alerts.append(account.alert("customers-cccccccccccc"))


def _leave_a_run_going_on(account):
    account.runs.append({"daemon": "second", "run": "2", "batch": _SECOND, "status": "STARTED"})


#: Violation → rules that it breaks.
_VIOLATIONS = {
    _lose_an_offset: {"complete", "sent"},
    _lose_the_last_offset: {"complete", "sent"},
    _repeat_an_offset: {"complete", "order"},
    _invent_an_offset: {"complete"},
    _send_one_more: {"sent"},
    _leave_a_message_out: {"one place"},
    _double_a_row: {"one place", "published once"},
    _put_a_message_in_two_tables: {"one place", "published once"},
    _make_a_row_of_a_marker: {"one place", "published once"},
    _score_a_malformed_message: {"contract"},
    _reject_a_good_message: {"contract"},
    _leave_a_gap: {"tiles", "own batch"},
    _overlap: {"tiles"},
    _end_too_early: {"tiles", "own batch"},
    _begin_too_late: {"tiles", "own batch"},
    _name_a_partition_that_is_not_there: {"tiles"},
    _lose_a_batch: {"tiles", "own batch", "one alert"},
    _keep_a_row_of_another_batch: {"own batch"},
    _publish_nothing: {"published once"},
    _publish_twice: {"published once"},
    _publish_for_another_batch: {"published once"},
    _publish_what_was_rejected: {"published once"},
    _write_no_dead_letter: {"dead letter once"},
    _write_two_dead_letters: {"dead letter once"},
    _write_a_dead_letter_of_what_was_scored: {"dead letter once"},
    _publish_a_later_message_first: {"order"},
    _publish_a_customer_to_two_partitions: {"order"},
    _announce_nothing: {"one alert"},
    _announce_twice: {"one alert"},
    _announce_a_failure: {"one alert"},
    _announce_an_unknown_batch: {"one alert"},
    _leave_a_run_going_on: {"over"},
}


@pytest.mark.parametrize("violate", _VIOLATIONS, ids=lambda violate: violate.__name__.strip("_"))
def test_a_violation_is_found(account, violate):
    violate(account)
    assert account.broken() == _VIOLATIONS[violate]


def test_every_rule_has_a_violation_that_only_it_finds():
    assert set().union(*(rules for rules in _VIOLATIONS.values() if len(rules) == 1)) == checker.RULES.keys()


def _program(*arguments):
    # As an outsider has it: the file alone, without this project's packages.
    command = [sys.executable, "-I", "-S", str(Path(checker.__file__)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_as_a_program_it_ends_with_0_on_a_right_account_and_says_what_it_saw(account):
    account.write()
    done = _program(account.folder)
    assert done.returncode == 0, done.stderr
    assert "7 offsets" in done.stdout and done.stdout.count("holds  ") == len(checker.RULES)


def test_as_a_program_it_ends_with_1_and_shows_the_first_counterexamples(account):
    for line in account.history:
        line["published"].clear()
    account.alerts.clear()
    account.write()
    done = _program(account.folder)
    assert done.returncode == 1
    assert "BROKEN  Every prediction is published once" in done.stdout
    assert f"0/0: published for no batch, rows for ['{_FIRST}']" in done.stdout
    assert f"batch {_FIRST}: in the ledger, announced as done 0 times" in done.stdout


def test_of_many_counterexamples_the_first_are_shown_and_the_rest_counted(account):
    account.sent = 5_000
    account.write()
    verdict = checker.check(account.folder)
    assert len(verdict.examples["sent"]) == 5
    assert "          and 4,989 more" in list(verdict.told())


def test_without_an_account_it_ends_with_2(tmp_path):
    assert _program(tmp_path).returncode == _program().returncode == 2


def test_the_same_seed_plans_the_same_faults_at_every_moment_and_another_seed_others():
    wanted = Wanted(kills=24, freezes=12, freeze_seconds=60, broker_kills=2, gap=10, seed=1)
    faults = wanted.planned()
    assert faults == wanted.planned() != Wanted(24, 12, 60, 2, 10, seed=2).planned()
    kinds = [fault.kind for fault in faults]
    assert [kinds.count(k) for k in ("kill", "freeze", "broker kill", "partition", "second sensor")] == [
        24,
        12,
        2,
        1,
        1,
    ]
    killed = [fault for fault in faults if fault.kind == "kill"]
    assert {fault.target for fault in killed} == {"run", "code server", "daemon"}
    assert {fault.moment for fault in faults if fault.target == "run"} == set(MOMENTS)
