"""From the files of a model version to an estimator that has scored its own example, without trusting the files.

Belongs here: reading what MLflow stored, which types and pickles may be loaded, the causes of failure. Does not:
finding the version (`mlflow_registry.py`), its fit to the contract (`model_registry.py`).

Whoever can swap the files can also edit their `MLmodel`: what may be loaded is decided by this module and by the tags
of the registered version, never by the files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import io
import json
import logging
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from churn_pipeline.errors import ModelError
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput
from churn_pipeline.kernel.plan import UnusableModel
from churn_pipeline.kernel.rows import ARROW_TYPES

#: Packages whose classes may be rebuilt from a skops file; anything else only if the registry names it.
TRUSTED_PACKAGES = frozenset({"imblearn", "lightgbm", "numpy", "scipy", "sklearn", "xgboost"})

#: Parts of scikit-learn's own histogram gradient boosting. What a partial calls must be trusted by its own name.
_TRUSTED_BY_NAME = frozenset({"functools.partial", "sklearn.utils.validation.check_array"})

#: What estimators and readers raise over files or rows they cannot take.
_UNREADABLE = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
    pickle.UnpicklingError, struct.error, yaml.YAMLError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

_log = logging.getLogger(__name__)


class UnsupportedFlavour(ModelError):
    """The model was saved by a library that this project does not score with."""


class ModelCorrupted(UnusableModel):
    """The files of the model version are missing, cut off or not what they claim to be."""


class ModelTooOld(UnusableModel):
    """The model was saved by another scikit-learn, and this one cannot use it."""


class ModelPackageMissing(ModelError):
    """The model needs a Python package that is not installed."""


class PickleNotVouched(ModelError):
    """The model is a pickle, which can run any code, and the registry does not vouch for it."""


class TypeNotTrusted(ModelError):
    """The model holds types or functions that nobody has said may be loaded."""


class NoProbabilities(ModelError):
    """The model is no classifier with probabilities."""


class ExampleNotScored(UnusableModel):
    """The model cannot score the example that was stored with it."""


@dataclass(frozen=True)
class StoredModel:
    """A model version as it is kept, not yet loaded.

    Attributes:
        said: what to call it in messages.
        inputs: the signature; None if it has none, or one without named columns.
        open: builds the estimator.
        example: rows that were stored with it, in the signature's types; None if there are none.
        saved_by: version of scikit-learn that saved it, or empty.
        requirements: the packages it was saved with, as in requirements.txt.
    """

    said: str
    flavour: str
    inputs: tuple[ModelInput, ...] | None
    open: Callable[[], Any] = field(repr=False, compare=False)
    example: pa.RecordBatch | None = field(default=None, repr=False, compare=False)
    saved_by: str = ""
    requirements: str = ""

    def load(self) -> Any:
        """The estimator.

        Raises:
            ModelError: one of this module's, by cause.
        """
        try:
            with warnings.catch_warnings():
                # scikit-learn warns of every model of another version; whether it can be used is tried, not guessed.
                warnings.filterwarnings("ignore", category=UserWarning, module=r"sklearn\.")
                estimator = self.open()
        except ImportError as error:
            raise self._too_old() or ModelPackageMissing(
                f"{self.said} needs {_missing(error.name or '', self.requirements)}"
            ) from None
        except _UNREADABLE as error:
            _log.debug("%s: loading raised %s", self.said, type(error).__name__)
            raise self._too_old() or ModelCorrupted(
                f"The files of {self.said} cannot be read ({type(error).__name__}): they are cut off or were changed. "
                "Restore them from a copy, or train again."
            ) from None
        if not callable(getattr(estimator, "predict_proba", None)):
            raise NoProbabilities(
                f"{self.said} gives no probabilities. Register a classifier that has predict_proba; "
                "scikit-learn's CalibratedClassifierCV adds it to one that has not."
            )
        return estimator

    def check_example(self, estimator: Any) -> None:
        """Score the stored example, as customers will be scored.

        Raises:
            ExampleNotScored: it raised, or gave anything but finite probabilities, one column a class.
            ModelTooOld: it raised, and another scikit-learn saved it.
        """
        if self.example is None or not self.example.num_rows or self.inputs is None:
            _log.warning(
                "%s was stored without an input example, so its loading is not proven by scoring one.", self.said
            )
            return
        from threadpoolctl import threadpool_limits

        try:
            with threadpool_limits(1, user_api="openmp"):  # a few rows are not worth waking threads for
                found = np.asarray(estimator.predict_proba(frame(self.example, self.inputs)), dtype=float)
        except _UNREADABLE as error:
            # No text of the error: it may quote a value of the example, which may be a customer's.
            raise self._too_old() or ExampleNotScored(
                f"{self.said} fails on the input example stored with it ({type(error).__name__} in predict_proba). "
                "Log the model again with an example that it can score."
            ) from None
        if not _are_probabilities(found, self.example.num_rows):
            raise ExampleNotScored(
                f"{self.said} gives something else than probabilities of two or more classes on its own input example. "
                "Register a classifier whose predict_proba gives finite values between 0 and 1."
            )

    def _too_old(self) -> ModelTooOld | None:
        import sklearn

        if not self.saved_by or self.saved_by.split(".")[:2] == sklearn.__version__.split(".")[:2]:
            return None
        return ModelTooOld(
            f"{self.said} was saved by scikit-learn {self.saved_by} and cannot be used by {sklearn.__version__}. "
            f"Train it again, or install scikit-learn=={self.saved_by} beside this package."
        )


def stored_model(folder: Path, tags: Mapping[str, str], said: str, open_pipeline: Callable[[str], Any]) -> StoredModel:
    """Read what MLflow keeps of a scikit-learn model or a Spark ML pipeline, without loading it.

    Args:
        folder: the version's files, `MLmodel` among them.
        tags: of the registered version: `pickle_sha256` vouches for a pickle, `trusted_types` for types in skops.
        open_pipeline: loads a Spark ML pipeline from its folder.

    Raises:
        UnsupportedFlavour, ModelCorrupted
    """
    try:
        described = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        flavours = described["flavors"]
        inputs = _inputs(described.get("signature"))
        example = _example(folder, described.get("saved_input_example_info"), inputs)
        if "spark" in flavours:
            place = folder / str(flavours["spark"]["model_data"])
            return StoredModel(said, "spark", inputs, partial(open_pipeline, str(place)), example)
        if "sklearn" not in flavours:
            known = ", ".join(sorted(set(flavours) - {"python_function"})) or "python_function"
            raise UnsupportedFlavour(
                f"{said} is of flavour {known}; models are scored by scikit-learn or by Spark ML. "
                "Log it with mlflow.sklearn.log_model: the classifiers of XGBoost and LightGBM can be logged so too."
            )
        facts = flavours["sklearn"]
        file, listed = folder / str(facts["pickled_model"]), folder / "requirements.txt"
        return StoredModel(
            said=said,
            flavour="sklearn",
            inputs=inputs,
            open=lambda: _open(file, folder, facts, tags, said),
            example=example,
            saved_by=str(facts.get("sklearn_version") or ""),
            requirements=listed.read_text(encoding="utf-8") if listed.is_file() else "",
        )
    except _UNREADABLE as error:
        raise ModelCorrupted(
            f"The description (MLmodel) of {said} is missing or malformed ({type(error).__name__}). "
            "Restore its files from a copy, or train again."
        ) from None


def example_batch(values: Mapping[str, Any], inputs: tuple[ModelInput, ...]) -> pa.RecordBatch:
    """Rows of an example in the signature's types.

    Args:
        values: column → its values.

    Raises:
        KeyError, ValueError, TypeError: the values do not fit the signature.
    """
    arrays = [pa.array(values[item.name], type=ARROW_TYPES[item.type], from_pandas=True) for item in inputs]
    return pa.RecordBatch.from_arrays(arrays, names=[item.name for item in inputs])


def _inputs(signature: Mapping[str, Any] | None) -> tuple[ModelInput, ...] | None:
    columns = json.loads((signature or {}).get("inputs") or "[]")
    if not columns or any("name" not in column for column in columns):
        return None
    return tuple(ModelInput(str(c["name"]), str(c["type"]), bool(c.get("required", True))) for c in columns)


def _example(
    folder: Path, info: Mapping[str, Any] | None, inputs: tuple[ModelInput, ...] | None
) -> pa.RecordBatch | None:
    if not info or info.get("type") != "dataframe" or not inputs or any(i.type not in ARROW_TYPES for i in inputs):
        return None
    stored = json.loads((folder / str(info["artifact_path"])).read_text(encoding="utf-8"))
    if not stored["data"]:
        return None
    return example_batch(dict(zip(stored["columns"], zip(*stored["data"], strict=True), strict=True)), inputs)


def _open(file: Path, folder: Path, facts: Mapping[str, Any], tags: Mapping[str, str], said: str) -> Any:
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError("the model file lies outside its folder")
    content = file.read_bytes()  # Once: what is judged is what is loaded.
    if facts.get("serialization_format") == "skops":
        return _from_skops(content, tags, said)
    return _from_pickle(content, tags, said)


def _from_skops(content: bytes, tags: Mapping[str, str], said: str) -> Any:
    import skops.io

    named = {name.strip() for name in tags.get("trusted_types", "").split(",") if name.strip()}
    found = skops.io.get_untrusted_types(data=content)
    if refused := [name for name in found if name not in named and not is_trusted_class(name)]:
        wanted = ",".join(sorted(named | set(refused)))
        raise TypeNotTrusted(
            f"{said} holds {', '.join(refused)}, which nobody has said may be loaded. If you know where the model "
            f"comes from, set the tag trusted_types of the registered version to {wanted!r}."
        )
    return skops.io.loads(content, trusted=found)


def _from_pickle(content: bytes, tags: Mapping[str, str], said: str) -> Any:
    digest = hashlib.sha256(content).hexdigest()
    if tags.get("pickle_sha256", "").strip().lower() != digest:
        raise PickleNotVouched(
            f"{said} is a pickle, and loading a pickle runs whatever code is in it. Log it with "
            "serialization_format='skops'; or, if you know where this file comes from, set the tag pickle_sha256 of "
            f"the registered version to {digest}."
        )
    return pickle.load(io.BytesIO(content))


def is_trusted_class(name: str) -> bool:
    """Whether a dotted name is a class of a trusted package, or one of the few functions their estimators hold.

    Other functions are not: numpy has one that runs source text.
    """
    if name in _TRUSTED_BY_NAME:
        return True
    module, _, attribute = name.rpartition(".")
    parts = module.split(".")
    if parts[0] not in TRUSTED_PACKAGES or "__main__" in parts or "tests" in parts:
        return False
    return inspect.isclass(getattr(importlib.import_module(module), attribute, None))


def _are_probabilities(found: np.ndarray, rows: int) -> bool:
    return bool(
        found.ndim == 2
        and found.shape[0] == rows
        and found.shape[1] >= 2
        and np.isfinite(found).all()
        and (found >= 0).all()
        and (found <= 1).all()
    )


def _missing(module: str, requirements: str) -> str:
    """`the package lightgbm, which is not installed. Run pip install lightgbm==4.7.0.`, the version as it was saved."""
    package = module.partition(".")[0]
    if not package:
        return "a package that cannot be imported. Install what its requirements.txt lists."
    if importlib.util.find_spec(package):
        return f"{module}, which the installed {package} does not have. Install the version its requirements.txt lists."
    listed = re.search(rf"^{re.escape(package)}\s*[=<>!~][^;\s]*", requirements, re.MULTILINE | re.IGNORECASE)
    return f"the package {package}, which is not installed. Run pip install {listed[0] if listed else package}."
