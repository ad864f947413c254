"""Delta tables that tests read: written by delta-rs, and with logs as other writers leave them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from churn_pipeline_tests.resources.customer_sources.shops import SHOPS


def add(location: str, rows: list[dict[str, Any]], mode: str = "append", **more: Any) -> None:
    write_deltalake(location, pa.Table.from_pylist(rows), mode=mode, **more)  # type: ignore[call-overload]


def written_by_hand(folder: Path, features: tuple[str, ...] = (), **configuration: str) -> str:
    """A table of one file with all shops, whose log says what other writers say."""
    log = folder / "_delta_log"
    log.mkdir(parents=True)
    rows = pa.Table.from_pylist(SHOPS)
    pq.write_table(rows, folder / "p.parquet")
    write_deltalake(folder.parent / "other", rows, mode="overwrite")
    schema = json.loads(DeltaTable(folder.parent / "other").schema().to_json())
    if configuration:
        for number, field in enumerate(schema["fields"]):
            name = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": field["name"]}
            field["metadata"] = name
    names = list(features)
    protocol: dict[str, Any] = {"minReaderVersion": 1, "minWriterVersion": 2}
    if features:
        protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": names, "writerFeatures": names}
    metadata = {
        "id": "5d9e5f3b-6fd1-4d5a-b2b7-1a8f0f9f2f10", "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps(schema), "partitionColumns": [], "configuration": configuration,
    }  # fmt: skip
    file = {
        "path": "p.parquet", "partitionValues": {}, "size": (folder / "p.parquet").stat().st_size,
        "modificationTime": 1_717_200_000_000, "dataChange": True,
    }  # fmt: skip
    actions = [{"protocol": protocol}, {"metaData": metadata}, {"add": file}]
    (log / f"{0:020}.json").write_text("\n".join(map(json.dumps, actions)))
    return str(folder)


def change_add(location: str, **more: Any) -> None:
    commit = Path(location) / "_delta_log" / f"{0:020}.json"
    *before, last = commit.read_text().splitlines()
    commit.write_text("\n".join([*before, json.dumps({"add": json.loads(last)["add"] | more})]))
