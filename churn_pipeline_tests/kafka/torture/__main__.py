"""`make torture`: one million messages, dozens of kills and freezes, and the account of every offset.

Belongs here: options, the order of things, what is printed. Does not: any of the things.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

from churn_pipeline_tests.kafka.apache_kafka import Broker
from churn_pipeline_tests.kafka.torture import checker
from churn_pipeline_tests.kafka.torture.faults import Wanted
from churn_pipeline_tests.kafka.torture.history import write_alerts, write_history, write_runs
from churn_pipeline_tests.kafka.torture.rig import DEAD_LETTERS, PREDICTIONS, SOURCE, Rig, Size, rig


def torture(
    out: Path,
    broker: Broker,
    size: Size,
    wanted: Wanted,
    say: Callable[[str], None],
    moment_seconds: float = 90.0,
) -> checker.Verdict:
    """Run the service, do all that to it, write the account, and check it.

    Args:
        out: a new folder.
        broker: running, with nothing in it; it is killed and started again.
        moment_seconds: how long a fault waits for its step.
    """
    began, late = time.monotonic(), None

    def told(words: str) -> None:
        say(f"{timedelta(seconds=int(time.monotonic() - began))}  {words}")

    out.mkdir(parents=True)
    with rig(out / "service", broker, size, wanted.seconds, wanted.seed, told) as running:
        try:
            running.torture(wanted, out / "faults.jsonl", moment_seconds)
            told("every fault is done")
            late = running.wait_until_over(size.patience)
        finally:
            told("writing the account")
            _write_account(out, running, size)
    verdict = checker.check(out)
    verdict.require("over", late is None, late or "")
    told(f"the account is in {out}")
    return verdict


def _write_account(out: Path, running: Rig, size: Size) -> None:
    for daemon in running.daemons:
        daemon.end()
    topics = {"published": PREDICTIONS, "dead_letters": DEAD_LETTERS}
    tables = running.deployment.settings.folder / "tables" / "telco"
    write_history(out, running.broker.bootstrap, SOURCE, topics, tables, size.messages)
    write_alerts(out, running.alerts)
    write_runs(out, running.daemons)


def main() -> int:
    """0 if every rule holds, 1 if one does not."""
    parser = argparse.ArgumentParser(prog="python -m churn_pipeline_tests.kafka.torture", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=7_000, help="different ones; each comes again and again")
    parser.add_argument("--batch-messages", type=int, default=25_000, help="most messages of a batch")
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--freezes", type=int, default=12)
    parser.add_argument("--freeze-seconds", type=float, default=60.0)
    parser.add_argument("--broker-kills", type=int, default=2)
    parser.add_argument("--gap-seconds", type=float, default=10.0, help="mean peace between two faults")
    parser.add_argument("--patience-minutes", type=float, default=60.0, help="from the last fault until all is over")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="new folder of the account")
    asked = parser.parse_args()
    if asked.out.exists():
        parser.error(f"{asked.out} is there already. Name a new folder.")
    size = Size(asked.messages, asked.customers, asked.batch_messages, asked.patience_minutes * 60)
    wanted = Wanted(asked.kills, asked.freezes, asked.freeze_seconds, asked.broker_kills, asked.gap_seconds, asked.seed)
    with Broker() as broker:
        verdict = torture(asked.out, broker, size, wanted, partial(print, flush=True))
    (asked.out / "verdict.txt").write_text("\n".join(verdict.told()) + "\n", encoding="utf-8")
    print("\n".join(verdict.told()))
    return 0 if verdict.holds else 1


if __name__ == "__main__":
    sys.exit(main())
