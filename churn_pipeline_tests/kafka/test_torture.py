"""Killed, frozen and robbed of its broker, the service accounts for every message once: the small torture."""

import json
from collections import Counter

from churn_pipeline_tests.kafka.torture.__main__ import torture
from churn_pipeline_tests.kafka.torture.faults import Wanted
from churn_pipeline_tests.kafka.torture.rig import Size

_SIZE = Size(messages=20_000, customers=1_500, batch=7_000, patience=600, start_seconds=40)
_WANTED = Wanted(kills=3, freezes=2, freeze_seconds=6, broker_kills=1, gap=1, wait=6, seed=8)


def test_every_message_is_accounted_for_once_whatever_is_killed_and_frozen(new_broker, tmp_path):
    verdict = torture(tmp_path / "account", new_broker(), _SIZE, _WANTED, print, moment_seconds=30)
    assert verdict.holds, "\n".join(verdict.told())
    assert verdict.counts["offsets"] >= _SIZE.messages and verdict.counts["rejected"] > _SIZE.messages * 0.005
    assert verdict.counts["batches"] >= 3
    faults = [json.loads(line) for line in (tmp_path / "account" / "faults.jsonl").read_text().splitlines()]
    kinds = Counter(fault["kind"] for fault in faults)
    assert kinds == {"kill": 3, "freeze": 2, "broker kill": 1, "partition": 1, "second sensor": 1}
