"""Holds the account of a torture against the rules of exactly once: a program of its own, on the standard library.

    python checker.py FOLDER

reads what `history.py` wrote, says of each rule whether it holds, with the first counterexamples, and ends with 1 if
one does not. An outsider can run it, or read the few files with any other tool.

Belongs here: the rules. Does not: how the files were made (`history.py`), the service.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Counterexamples that are kept of a rule.
_SHOWN = 5

#: Rule → what it says, in the order in which they are told.
RULES = {
    "complete": "The account has every offset of the topic once, in order, and no other.",
    "sent": "Every message that was sent is in the log.",
    "one place": "Every message is one row of exactly one of predictions, rejected and unscored; other offsets none.",
    "contract": "Malformed messages are rejected, well-formed ones are not.",
    "tiles": "The ledger's ranges tile the log of every partition, without gap or overlap.",
    "own batch": "Every row carries the id of the batch whose range has its offset.",
    "published once": "Every prediction is published once, with the same batch id, and nothing else is.",
    "dead letter once": "Every rejected or unscored message has one dead letter, with the same batch id; no other has.",
    "order": "The predictions of a customer are published in the order of the log.",
    "one alert": "Every batch is announced as done once, and no batch as failed.",
    "over": "It came to an end: nothing is left to do, and no run counts as going on.",
}

Line = dict[str, Any]


@dataclass
class Verdict:
    """What holds.

    Attributes:
        counts: what was looked at → how many.
        broken: rule → how often it is broken.
        examples: rule → its first counterexamples.
    """

    counts: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def holds(self) -> bool:
        """Whether every rule does."""
        return not self.broken

    def require(self, rule: str, holds: bool, example: str) -> None:
        """Note it if a rule is broken here."""
        if not holds:
            self.broken[rule] += 1
            if len(self.examples[rule]) < _SHOWN:
                self.examples[rule].append(example)

    def told(self) -> Iterator[str]:
        """For people, a line each."""
        yield ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        for rule, sentence in RULES.items():
            yield f"{'BROKEN' if rule in self.broken else 'holds '}  {sentence}"
            for example in self.examples.get(rule, ()):
                yield f"          {example}"
            if self.broken[rule] > _SHOWN:
                yield f"          and {self.broken[rule] - _SHOWN:,} more"


def check(folder: Path) -> Verdict:
    """Read the account in a folder."""
    verdict, marks = Verdict(), json.loads((folder / "watermarks.json").read_text(encoding="utf-8"))
    bounds = {int(p): (low, end) for p, (low, end) in marks["partitions"].items()}
    ledger, alerts = list(_lines(folder / "ledger.jsonl")), list(_lines(folder / "alerts.jsonl"))
    _check_tiles(verdict, ledger, bounds)
    _check_alerts(verdict, ledger, alerts)
    _check_runs(verdict, _lines(folder / "runs.jsonl"))
    _check_history(verdict, _lines(folder / "history.jsonl"), bounds, marks["messages_sent"], ledger)
    return verdict


def _lines(path: Path) -> Iterator[Line]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _check_tiles(verdict: Verdict, ledger: list[Line], bounds: dict[int, tuple[int, int]]) -> None:
    ranges: dict[int, list[tuple[int, int, str]]] = {p: [] for p in bounds}
    for row in ledger:
        for partition, (start, end) in row["offsets"].items():
            ranges.setdefault(int(partition), []).append((start, end, row["batch"]))
    for partition, found in sorted(ranges.items()):
        low, log_end = bounds.get(partition, (0, 0))
        reached = low
        for start, end, batch in sorted(found):
            what = f"partition {partition}: batch {batch} has {start:,}-{end:,}, and the one before ends at {reached:,}"
            verdict.require("tiles", start == reached and end > start, what)
            reached = end
        what = f"partition {partition}: the ledger ends at {reached:,}, the log at {log_end:,}"
        verdict.require("tiles", reached == log_end, what)
    verdict.counts["batches"] = len(ledger)


def _check_alerts(verdict: Verdict, ledger: list[Line], alerts: list[Line]) -> None:
    done = Counter(alert["batch"] for alert in alerts if alert["batch"] and alert["status"] == "done")
    scored = {row["batch"] for row in ledger}
    for batch in sorted(scored | done.keys()):
        what = f"batch {batch}: {'' if batch in scored else 'not '}in the ledger, announced as done {done[batch]} times"
        verdict.require("one alert", done[batch] == (batch in scored), what)
    for alert in alerts:
        failed = alert["status"] != "done" and not alert["sensor"]
        verdict.require("one alert", not failed, f"batch {alert['batch']}: {alert['title']}")
    verdict.counts["alerts of batches"] = sum(not alert["sensor"] for alert in alerts)
    verdict.counts["alerts of sensors"] = sum(alert["sensor"] for alert in alerts)


def _check_runs(verdict: Verdict, runs: Iterator[Line]) -> None:
    for run in runs:
        verdict.counts["runs"] += 1
        is_over = run["status"] in ("SUCCESS", "FAILURE", "CANCELED")
        what = f"run {run['run']} of the {run['daemon']} daemon, batch {run['batch']}: {run['status']}"
        verdict.require("over", is_over, what)


class _Owners:
    """Which batch has an offset, asked in the order of the log."""

    def __init__(self, ledger: list[Line]) -> None:
        self._ranges: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
        for row in ledger:
            for partition, (start, end) in row["offsets"].items():
                self._ranges[int(partition)].append((start, end, row["batch"]))
        for found in self._ranges.values():
            found.sort(reverse=True)

    def of(self, partition: int, offset: int) -> str | None:
        ranges = self._ranges[partition]
        while ranges and ranges[-1][1] <= offset:
            ranges.pop()
        return ranges[-1][2] if ranges and ranges[-1][0] <= offset else None


def _check_history(
    verdict: Verdict, history: Iterator[Line], bounds: dict[int, tuple[int, int]], sent: int, ledger: list[Line]
) -> None:
    owners, numbers = _Owners(ledger), bytearray(sent)
    expected = ((p, offset) for p, (low, end) in sorted(bounds.items()) for offset in range(low, end))
    latest: dict[tuple[int, str], list[int]] = {}
    for line in history:
        place = (line["partition"], line["offset"])
        where = f"{place[0]}/{place[1]}"
        verdict.require("complete", place == next(expected, None), f"{where}: not where it should be in the account")
        if line["number"] is not None and line["number"] < sent:
            numbers[line["number"]] = 1
        _check_places(verdict, line, where)
        _check_topics(verdict, line, where)
        owner = owners.of(*place)
        rows = [*line["predictions"], *line["rejected"], *line["unscored"]]
        verdict.require("own batch", all(row == owner for row in rows), f"{where}: in {rows}, belongs to {owner}")
        _check_order(verdict, line, where, latest)
    for partition, offset in expected:
        verdict.require("complete", False, f"{partition}/{offset}: not in the account")
    for number in (n for n, seen in enumerate(numbers) if not seen):
        verdict.require("sent", False, f"message number {number:,}: not in the log")


def _check_places(verdict: Verdict, line: Line, where: str) -> None:
    """In one table, as the contract has it."""
    places = {name: len(line[name]) for name in ("predictions", "rejected", "unscored")}
    count = sum(places.values())
    verdict.counts["offsets"] += 1
    for name, rows in places.items():
        verdict.counts[name] += rows
    verdict.require("one place", count == (1 if line["message"] else 0), f"{where}: {places}")
    if line["message"] and count:
        verdict.counts["malformed"] += bool(line["malformed"])
        fits = bool(places["rejected"]) == bool(line["malformed"])
        verdict.require("contract", fits, f"{where}: malformed is {line['malformed']}, and it is in {places}")


def _check_topics(verdict: Verdict, line: Line, where: str) -> None:
    """In the topics, what the tables have."""
    lost = [*line["rejected"], *line["unscored"]]
    for rule, name, rows in (
        ("published once", "published", line["predictions"]),
        ("dead letter once", "dead_letters", lost),
    ):
        said = [found["batch"] for found in line[name]]
        verdict.counts[name.replace("_", " ")] += len(said)
        verdict.require(rule, said == rows, f"{where}: {name} for {said or 'no batch'}, rows for {rows or 'no batch'}")


def _check_order(verdict: Verdict, line: Line, where: str, latest: dict[tuple[int, str], list[int]]) -> None:
    """Later in the log, later in the topic: as long as a customer's messages were in one partition of each."""
    if line["key"] is None or not line["published"]:
        return
    customer, at = (line["partition"], line["key"]), line["published"][0]["at"]
    before = latest.get(customer)
    fits = before is None or (before[0] == at[0] and before[1] < at[1])
    verdict.require("order", fits, f"{where}: published at {at}, an earlier one of the customer at {before}")
    latest[customer] = at


def main(arguments: list[str]) -> int:
    """0 if every rule holds, 1 if one does not, 2 if there is no account."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "history.jsonl").exists():
        print("Name the folder of an account, with history.jsonl in it.", file=sys.stderr)
        return 2
    verdict = check(Path(arguments[0]))
    print("\n".join(verdict.told()))
    return 0 if verdict.holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
