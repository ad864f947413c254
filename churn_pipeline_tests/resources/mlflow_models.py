"""One real MLflow on SQLite for all tests of a process, and models as other people register them."""

import atexit
import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from churn_pipeline.contract.definition import Contract
from churn_pipeline.resources.experiment_tracking import MlflowTracking
from churn_pipeline.resources.mlflow_registry import MlflowRegistry

SHOP = Contract.model_validate(
    {
        "name": "shop",
        "description": "Customers of a shop.",
        "id": {"column": "customer", "description": "Names the customer."},
        "label": {"column": "gone", "positive": "Yes", "negative": "No", "description": "Whether the customer left."},
        "features": {
            "age": {"type": "number", "description": "Years."},
            "spend": {"type": "number", "description": "Euro a month.", "nullable": True},
        },
    }
)


@functools.cache
def tracking() -> MlflowTracking:
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return MlflowTracking(f"sqlite:///{folder.name}/mlflow.db")


def registry() -> MlflowRegistry:
    return MlflowRegistry(tracking().tracking_uri)


def shoppers() -> tuple[pd.DataFrame, np.ndarray]:
    """Customers, and whether they left."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"age": random.uniform(18, 90, 100), "spend": random.uniform(0, 50, 100)})
    return frame, (frame["spend"] + random.normal(0, 5, 100) < 25).to_numpy()


def fitted(labels=None):
    """A classifier; `labels` maps whether a customer left to the class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame, left = shoppers()
    classes = left.astype(int) if labels is None else np.array([labels[bool(item)] for item in left])
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, classes)


def save(folder: Path, estimator, **options) -> Path:
    """The files of a registered model, without a registry. What cannot be scored is saved beside a working example."""
    import mlflow

    frame, _ = shoppers()
    mlflow.sklearn.save_model(estimator, folder, **_options(**options))
    frame.head(3).to_json(folder / "input_example.json", orient="split")
    info = {"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"}
    rewrite_mlmodel(folder, lambda described: described.update(saved_input_example_info=info))
    return folder


def register(name, estimator, tags=None, **options) -> Path:
    """Register as a data scientist does, by plain `mlflow.sklearn.log_model`.

    Returns:
        The folder of the model's files.
    """
    import mlflow

    options = {"input_example": shoppers()[0].head(3), **options}
    with tracking().run(f"run of {name}", "register") as run:
        info = run.sklearn.log_model(estimator, name="model", **_options(**options))
        client = mlflow.MlflowClient()
        client.create_registered_model(name)
        client.create_model_version(name, info.model_uri, run.mlflow_run_id, tags=tags, model_id=info.model_id)
        client.set_registered_model_alias(name, "champion", "1")
        return Path(client.get_model_version_download_uri(name, "1").removeprefix("file://"))


def _options(**options):
    import mlflow

    signature = mlflow.models.infer_signature(shoppers()[0])
    return {
        "signature": signature,
        "skops_trusted_types": ["numpy.dtype"],
        "pip_requirements": ["scikit-learn"],
        **options,
    }


def rewrite_mlmodel(folder: Path, change) -> None:
    """Edit the description of a stored model, as an older MLflow or a stranger would have written it."""
    described = yaml.safe_load((folder / "MLmodel").read_text())
    change(described)
    (folder / "MLmodel").write_text(yaml.safe_dump(json.loads(json.dumps(described))))
