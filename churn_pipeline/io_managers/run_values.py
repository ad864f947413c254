"""Small values that the assets of one run hand each other, kept in files so that a retried run finds them.

Belongs here: where they are kept. Does not: rows (tables), what the values mean (`dagster_io.py`).
"""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

_LATEST = "latest"


class RunValues:
    """JSON values by run and asset, under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, run_id: str, asset: str, value: dict[str, Any]) -> None:
        """Keep a value for this run, and as the asset's latest."""
        for owner in (run_id, _LATEST):
            path = self._folder / owner / f"{asset}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            # Readers and a second run at the same time see a whole file.
            half = path.with_suffix(f".{os.getpid()}.tmp")
            half.write_text(json.dumps(value), encoding="utf-8")
            half.replace(path)

    def of_run(self, run_id: str, asset: str) -> dict[str, Any] | None:
        """What this run kept, or None."""
        return self._read(self._folder / run_id / f"{asset}.json")

    def latest(self, asset: str) -> dict[str, Any] | None:
        """What the asset's last run kept, or None."""
        return self._read(self._folder / _LATEST / f"{asset}.json")

    def sweep(self, older_than_days: float) -> int:
        """Remove the values of old runs; returns how many runs."""
        limit = time.time() - older_than_days * 86_400
        old = [d for d in self._folder.glob("*") if d.is_dir() and d.name != _LATEST and d.stat().st_mtime < limit]
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)
        return len(old)

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return value
