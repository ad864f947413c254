"""`exported_predictions`: a finished batch's predictions in a format others read, where a setting asks for it.

Belongs here: the asset. Does not: the formats (`io_managers/`). The Delta tables stay the truth; this is a copy.
"""

from collections.abc import Iterator

import dagster as dg

from churn_pipeline.assets.columns import column_schema
from churn_pipeline.assets.defaults import RunDefaults
from churn_pipeline.assets.prediction_rows import LATER, predictions_schema, stream_predictions
from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.base import Rows, TableHandle


@dg.asset(
    group_name="scoring",
    io_manager_key="exports",
    output_required=False,
    owners=["team:data-engineering"],
    kinds={"python", "table"},
    code_version="1",
)
def exported_predictions(
    scored_batches: TableHandle,
    churn_predictions: TableHandle,
    contract: dg.ResourceParam[Contract],
    defaults: dg.ResourceParam[RunDefaults],
) -> Iterator[dg.MaterializeResult[Rows]]:
    """The predictions of a finished batch as Parquet, CSV or JSON Lines files; nothing unless a setting asks for it."""
    del scored_batches  # only after the ledger row
    if not defaults.export:
        return
    assert churn_predictions.batch is not None
    schema = predictions_schema(contract)
    metadata = {"dagster/column_schema": column_schema(schema, contract)}
    rows = Rows(
        churn_predictions.batch, schema, stream_predictions(churn_predictions, contract), metadata=metadata, later=LATER
    )
    yield dg.MaterializeResult(value=rows)
