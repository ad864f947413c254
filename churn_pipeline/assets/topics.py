"""Topics as assets: what others write before a batch begins, and what they read once it is done.

Belongs here: external assets, which nothing here materialises. Does not: what is reported of them
(`sensors/topic_news.py`), publishing (`published_predictions.py`).
"""

from datetime import timedelta

import dagster as dg

customer_messages = dg.AssetSpec(
    "customer_messages",
    description="The topic that customer records come in by. The sensor customer_batches reports how it grows, and its "
    "lag; it is stale when nothing came for a day.",
    group_name="incoming",
    owners=["team:data-engineering"],
    kinds={"kafka"},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=24)),
)
