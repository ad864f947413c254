"""What the UI is told of the customer topic: how it grows, its lag, and what the checks make of it.

Belongs here: the events that the sensor reports on the external asset. Does not: asking the topic
(`io_managers/topic_batches.py`), what is too much (`checks.py`).
"""

import json
from typing import Any

import dagster as dg

from churn_pipeline import checks
from churn_pipeline.io_managers.topic_batches import TopicState

_KEY = "customer_messages"
_ROWS_SHOWN = 20


def mark_of(state: TopicState) -> str:
    """Ends and lag as text: the same as long as there is no news."""
    return json.dumps([sorted(state.marks.end.items()), sorted(state.lag.items())])


def news_of(
    topic: str, state: TopicState
) -> list[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation]:
    """The topic as it is, as events of the asset `customer_messages`.

    Returns:
        A materialisation, which is what the UI shows first and keeps the topic fresh, once the topic has a message; and
        the checks.
    """
    event = dg.AssetMaterialization if any(state.marks.end.values()) else dg.AssetObservation
    evaluations = [
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(_KEY),
            check_name=str(result.check_name),
            passed=result.passed,
            metadata=result.metadata,
            severity=result.severity,
            description=result.description,
        )
        for result in checks.topic_checks(state)
    ]
    return [event(asset_key=_KEY, metadata=_metadata(topic, state)), *evaluations]


def _metadata(topic: str, state: TopicState) -> dict[str, Any]:
    marks, lag = state.marks, state.lag
    worst = sorted(marks.end, key=lambda p: (-lag[p], p))[:_ROWS_SHOWN]
    columns = ("partition", "low", "scored", "end", "lag")
    rows = [(p, marks.low[p], state.scored.get(p, marks.low[p]), marks.end[p], lag[p]) for p in sorted(worst)]
    return {
        "topic": topic,
        "lag": sum(lag.values()),
        "messages": sum(marks.end.values()),
        "messages_kept": sum(marks.end[p] - marks.low[p] for p in marks.end),
        "head_room": round(state.head_room, 4),
        "partitions": len(marks.end),
        "watermarks": dg.MetadataValue.table(
            [dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
            dg.TableSchema([dg.TableColumn(name, "int") for name in columns]),
        ),
    }
