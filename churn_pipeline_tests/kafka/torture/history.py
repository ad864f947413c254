"""What is there afterwards, read from outside: tables by delta-rs, topics by a plain consumer, alerts from the webhook.

Nothing of the service reads for it, so what the service believes of itself does not count.

Belongs here: the files that `checker.py` holds against the rules. Does not: the rules.

`history.jsonl` has a line for every offset of the source topic, in order, with these keys:

    partition, offset
    message         whether the log has one there; transaction markers and aborted messages leave none
    key             of the message
    number          that the producer gave it
    malformed       how the producer spoilt it, or null
    predictions, rejected, unscored
                    the batch ids of its rows in these tables
    published, dead_letters
                    what is in these topics of it, each as {"at": [partition, offset], "batch": id}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from deltalake import DeltaTable

from churn_pipeline_tests.kafka.torture.daemons import Daemon

_TABLES = {
    "predictions": "churn_predictions",
    "rejected": "rejected_customers",
    "unscored": "unscored_customers",
}

Line = dict[str, Any]


class Found(NamedTuple):
    """A message of a topic, as far as it matters here."""

    partition: int
    offset: int
    key: str | None
    headers: dict[str, str]


#: Partition → a line for each of its offsets.
Lines = dict[int, list[Line]]


def write_history(
    folder: Path, bootstrap: str, source: str, published: dict[str, str], tables: Path, messages: int
) -> None:
    """Write `history.jsonl`, `watermarks.json` and `ledger.jsonl`.

    Args:
        published: `published` and `dead_letters` → their topics.
        tables: folder of the Delta tables.
        messages: how many were sent.
    """
    marks = _watermarks(bootstrap, source)
    lines = {p: [_line(p, offset) for offset in range(low, end)] for p, (low, end) in marks.items()}
    for found in _messages(bootstrap, source):
        line = _at(lines, marks, found.partition, found.offset)
        line["message"], line["key"] = True, found.key
        line["number"], line["malformed"] = int(found.headers["demo-number"]), found.headers.get("demo-malformed")
    for name, topic in published.items():
        for found in _messages(bootstrap, topic):
            partition, offset = map(int, found.headers["source"].split("/")[-2:])
            said = {"at": [found.partition, found.offset], "batch": found.headers["batch_id"]}
            _at(lines, marks, partition, offset)[name] += (said,)
    for name, table in _TABLES.items():
        for batch, where, offset in _rows(tables / table):
            _at(lines, marks, int(where.rpartition("/")[2]), offset)[name] += (batch,)
    _write(folder / "history.jsonl", (line for p in sorted(lines) for line in lines[p]))
    _write(folder / "ledger.jsonl", _ledger(tables / "scored_batches"))
    bounds = {str(p): list(bounds) for p, bounds in sorted(marks.items())}
    (folder / "watermarks.json").write_text(
        json.dumps({"topic": source, "messages_sent": messages, "partitions": bounds}, indent=1), encoding="utf-8"
    )


def write_alerts(folder: Path, received: Iterable[dict[str, Any]]) -> None:
    """Write `alerts.jsonl`: what the webhook received, in that order, with the batch that it is about."""
    _write(folder / "alerts.jsonl", (_alert(body) for body in received))


def write_runs(folder: Path, daemons: Iterable[Daemon]) -> None:
    """Write `runs.jsonl`: every run that a daemon has in its history."""
    _write(folder / "runs.jsonl", (line for daemon in daemons for line in _runs(daemon)))


def _line(partition: int, offset: int) -> Line:
    return {
        "partition": partition,
        "offset": offset,
        "message": False,
        "key": None,
        "number": None,
        "malformed": None,
        "predictions": (),
        "rejected": (),
        "unscored": (),
        "published": (),
        "dead_letters": (),
    }


def _at(lines: Lines, marks: dict[int, tuple[int, int]], partition: int, offset: int) -> Line:
    """The line of an offset; one that the topic has not is a finding of its own, at the end."""
    low, end = marks.get(partition, (0, 0))
    if low <= offset < end:
        return lines[partition][offset - low]
    lines.setdefault(partition, []).append(_line(partition, offset))
    return lines[partition][-1]


def _watermarks(bootstrap: str, topic: str) -> dict[int, tuple[int, int]]:
    """Partition → oldest offset, and the one after the last committed."""
    with closing(_consumer(bootstrap)) as consumer:
        parts = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30) for p in parts}


def _messages(bootstrap: str, topic: str) -> Iterator[Found]:
    """Every message that a reader of committed ones sees."""
    with closing(_consumer(bootstrap)) as consumer:
        open_ = {p: end for p, (low, end) in _watermarks(bootstrap, topic).items() if end > low}
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in open_])
        while open_:
            for message in consumer.consume(1_000, timeout=1):
                # An error, such as that of a broker that is busy, is the client's to repair; it tries again.
                if message.error() is None:
                    yield _found(message)
            # An end on a transaction's marker holds no message; the position passes it.
            for part in consumer.position([TopicPartition(topic, p) for p in open_]):
                if part.offset >= open_[part.partition]:
                    del open_[part.partition]


def _found(message: Any) -> Found:
    headers = {name: _text(value) or "" for name, value in message.headers() or ()}
    return Found(message.partition(), message.offset(), _text(message.key()), headers)


def _consumer(bootstrap: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "outsider",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 10,
        }
    )


def _rows(table: Path) -> Iterator[tuple[str, str, int]]:
    """Batch, partition and offset of every row; a table that nothing was written to need not be there."""
    if not DeltaTable.is_deltatable(str(table)):
        return
    columns = ["batch_id", "source_partition", "source_position"]
    for rows in DeltaTable(str(table)).to_pyarrow_dataset().to_batches(columns=columns):
        yield from zip(*(rows.column(name).to_pylist() for name in columns), strict=True)


def _ledger(table: Path) -> Iterator[Line]:
    """A line for each batch, in the order in which they were done."""
    rows = DeltaTable(str(table)).to_pyarrow_table(columns=["batch_id", "batch", "scored_at", "run_id"]).to_pylist()
    for row in sorted(rows, key=lambda row: row["scored_at"]):
        ((topic, offsets),) = json.loads(row["batch"])["offsets"].items()
        yield {"batch": row["batch_id"], "topic": topic, "offsets": offsets, "run": row["run_id"]}


def _alert(body: dict[str, Any]) -> Line:
    text = str(body["message"])
    batch, status = re.search(r"^Batch: (\S+)", text, re.MULTILINE), re.search(r"^Status: (\w+)", text, re.MULTILINE)
    return {
        "batch": batch and batch[1],
        "status": status and status[1],
        "sensor": "\nSensor: " in f"\n{text}",
        "title": body["title"],
    }


def _runs(daemon: Daemon) -> Iterator[Line]:
    for run in daemon.history.get_runs(dg.RunsFilter(job_name="score_customers")):
        batch = run.tags.get("churn/batch")
        yield {"daemon": daemon.name, "run": run.run_id, "batch": batch, "status": run.status.value}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _write(path: Path, lines: Iterable[Line]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
