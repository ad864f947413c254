"""Models in files: skops, joblib or pickle.

Belongs here: reading one. Does not: registered models, which are judged before they are loaded
(`resources/model_loading.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from churn_pipeline.errors import ModelError


class ModelFileUnreadable(ModelError, ValueError):
    """A model file exists and cannot be loaded."""


def load_file(path: str, what: str) -> Any:
    """What a file holds; `what` is what to call it in messages.

    Raises:
        FileNotFoundError: no such file.
        ModelFileUnreadable: it holds nothing that this environment can read.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{what} file not found: {path}")
    if path.endswith(".skops"):
        import skops.io

        return skops.io.load(path, trusted=["numpy.dtype", "sklearn.tree._tree.Tree"])
    import pickle

    import joblib

    try:
        return joblib.load(path)
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, KeyError, IndexError, ValueError) as error:
        raise ModelFileUnreadable(
            f"{what} file {path} cannot be read ({type(error).__name__}). Save it again with joblib.dump, with the "
            "packages and versions that are installed here."
        ) from error
