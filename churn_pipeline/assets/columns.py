"""A sentence for every column of every table, as the UI shows it.

Belongs here: descriptions, and Dagster's column schema and lineage made of them. Does not: the schemas themselves,
which live beside the code that fills them.
"""

from collections.abc import Iterable

import dagster as dg
import pyarrow as pa

from churn_pipeline.contract.definition import Contract

SENTENCES = {
    "amount": "What the customer pays, in the contract's unit.",
    "backend": "What really scored the row: sklearn or spark.",
    "batch": "Source and bounds of the batch, as JSON: files, sizes, digests, or ranges of offsets.",
    "batch_date": "Day of the batch, from its newest file or the moment it was planned; the table's partition.",
    "batch_id": "The batch the row belongs to: source and content, the same on every attempt.",
    "bytes_read": "Bytes of the source that the batch read.",
    "cells_cleaned": "Cells the contract's cleaning changed, a column each, as JSON.",
    "churn_probability": "Probability that the customer leaves, from 0 to 1, as the registered estimator gives it.",
    "churned": "Whether the customer left; the label to train on.",
    "contract": "Name of the contract the batch was held against.",
    "error": "The words of the error that the model raised for this customer.",
    "error_type": "Kind of error that the model raised for this customer.",
    "event_at": "When the record was true, UTC; the time of its message or file where a record names none.",
    "failures": "Every rule the row broke, with column and offending value.",
    "id_bucket": "Partition of the table: a stable hash of the id.",
    "kernel_tier": "Which evaluation of the kernel scored the batch.",
    "kernel_proof": "JSON: on how many customers it was compared with the estimator, before and in this batch.",
    "mean_probability": "Mean probability over scored customers.",
    "model_name": "Registered model that scored.",
    "model_version": "Version of the registered model that scored.",
    "prediction": "1 if the customer is predicted to leave (probability at or above the threshold), else 0.",
    "reasons_down": "What lowered the score most: column, value, contribution, strongest first; null if nobody asked.",
    "reasons_up": "What raised the score most: column, value, contribution, strongest first; null if nobody asked.",
    "record": "The row as it was found: JSON, or the line itself.",
    "raw": "The message as it was, byte for byte; empty for rows of files, which still have them.",
    "revenue_at_risk": "Probability times the amount the customer pays, in the contract's unit.",
    "rows_churn": "Customers predicted to churn.",
    "rows_customers": "Rows that kept the contract.",
    "rows_duplicate": "Rows whose id an earlier row of the batch has.",
    "rows_read": "Rows and broken lines found within the batch's bounds.",
    "rows_rejected": "Rows that broke the contract.",
    "rows_scored": "Customers with a prediction.",
    "rows_unscored": "Customers the model could not score.",
    "rules": "Names of the rules the row broke.",
    "run_id": "The Dagster run that finished the batch.",
    "scored_at": "When scoring of the batch began, UTC.",
    "seconds": "Seconds from the first stage to the ledger row.",
    "source_partition": "The file the row came from, or topic/partition.",
    "source_position": "Row number in that file, the first data row being 1, or the offset.",
    "source_time": "When the broker got the message, UTC; empty for rows of files.",
    "stage_seconds": "Seconds of each stage, as JSON; scoring goes on while customers are read.",
    "table_versions": "Version of each table that holds the batch's rows, as JSON.",
    "threshold": "Probability from which a customer is predicted to leave.",
}

_STORE_COLUMNS = (
    pa.field("batch_id", pa.string(), nullable=False),
    pa.field("batch_date", pa.date32(), nullable=False),
)


def column_schema(schema: pa.Schema, contract: Contract) -> dg.TableSchema:
    """Dagster's column schema of a table: names, types, sentences, and what the contract constrains.

    Raises:
        KeyError: a column has no sentence.
    """
    fields = [*schema, *(field for field in _STORE_COLUMNS if field.name not in schema.names)]
    return dg.TableSchema([_column(field, contract) for field in fields])


def lineage(contract: Contract) -> dg.TableColumnLineage:
    """Which columns of `customers` each column of `churn_predictions` comes from."""
    customers = dg.AssetKey("customers")

    def of(names: Iterable[str]) -> list[dg.TableColumnDep]:
        return [dg.TableColumnDep(asset_key=customers, column_name=name) for name in names]

    copied = [contract.id.column, "event_at", "source_partition", "source_position", *contract.passthrough]
    deps = {name: of([name]) for name in copied}
    for name in ("churn_probability", "prediction", "reasons_up", "reasons_down"):
        deps[name] = of(contract.features)
    if contract.amount_at_risk:
        deps["revenue_at_risk"] = of(dict.fromkeys([*contract.features, contract.amount_at_risk.feature]))
    return dg.TableColumnLineage(deps)


def _column(field: pa.Field, contract: Contract) -> dg.TableColumn:
    kind = str(field.type.value_type) if pa.types.is_dictionary(field.type) else str(field.type)
    missing = dg.TableColumnConstraints(nullable=field.nullable)
    if field.name == contract.id.column:
        return dg.TableColumn(field.name, kind, contract.id.description, missing, tags={"pii": ""})
    feature = contract.features.get(field.name)
    if feature is None:
        return dg.TableColumn(field.name, kind, SENTENCES[field.name], missing)
    rules = [f"at least {feature.min:g}"] if feature.min is not None else []
    rules += [f"at most {feature.max:g}"] if feature.max is not None else []
    rules += [f"one of {', '.join(feature.allowed)}"] if feature.allowed else []
    constraints = dg.TableColumnConstraints(nullable=feature.nullable, other=rules)
    return dg.TableColumn(field.name, kind, feature.description, constraints)
