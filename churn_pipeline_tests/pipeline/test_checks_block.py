"""A wrong table stops what follows: nothing is called done that does not add up."""

from dataclasses import replace

import pytest

from churn_pipeline import runs
from churn_pipeline.io_managers.dagster_io import TableIOManager
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline_tests.builders import instance_of


class LosesTheLastRow(TableIOManager):
    """A writer with a bug: one customer never arrives."""

    def write(self, context, table, rows):
        if table == "customers":
            shorter = (batch.slice(0, max(0, batch.num_rows - 1)) for batch in rows.stream)
            rows = replace(rows, stream=shorter)
        return super().write(context, table, rows)


def test_a_row_that_is_lost_on_the_way_stops_the_batch_and_is_said(deployment):
    broken = LosesTheLastRow(deployment.table_store(), deployment.run_values(), "telco")
    with instance_of(deployment) as instance, pytest.raises(runs.CheckFailed, match="does not count as done"):
        runs.score(deployment, runs.Request(), instance, tables=broken)
    assert Ledger(deployment.table_store()).all() == []
    [alert] = deployment.alerts().log.recent()
    assert alert.level == "failed"
