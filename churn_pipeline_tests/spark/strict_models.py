"""A registered model that refuses words it has not seen."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from churn_pipeline.deployments import Deployment


def register_strict(deployment: Deployment, customers: pd.DataFrame, inputs: Any) -> str:
    """Register a model that was fitted on no customer who pays by mailed check; its version."""
    seen = customers[customers["PaymentMethod"] != "Mailed check"].dropna().reset_index(drop=True)
    front = ColumnTransformer([("words", OneHotEncoder(), ["PaymentMethod", "Contract"])])
    churned = (np.arange(len(seen)) % 3 == 0).astype(int)
    estimator = make_pipeline(front, LogisticRegression()).fit(seen, churned)
    with deployment.experiment_tracking().run("strict", "train_model") as run:
        return deployment.model_registry().register(
            "churn_model",
            estimator,
            inputs=inputs,
            example=seen.head(5),
            tags={"positive_class": "1"},
            description="",
            run=run,
        )
