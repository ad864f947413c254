"""A home with a champion, found by its environment variables as a job finds it."""

import pytest

from churn_pipeline.deployments import Deployment, Settings


@pytest.fixture
def home(_trained, tmp_path, monkeypatch) -> Deployment:
    """The deployment of the environment: a shared registry, and a home of its own."""
    _, trained = _trained
    settings = trained.settings
    monkeypatch.setenv("CHURN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHURN_SOURCE", settings.source)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{settings.folder}/mlflow/mlflow.db")
    return Deployment(Settings.from_environment)
