"""A home with a champion, found by its environment variables as a job finds it."""

import pytest

from churn_pipeline.deployments import Deployment, Settings
from churn_pipeline_tests.builders import trained_home


@pytest.fixture(scope="session")
def _trained(tmp_path_factory) -> Deployment:
    return trained_home(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def home(_trained, tmp_path, monkeypatch) -> Deployment:
    """The deployment of the environment: a shared registry, and a home of its own."""
    trained = _trained.settings
    monkeypatch.setenv("CHURN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHURN_SOURCE", trained.source)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{trained.folder}/mlflow/mlflow.db")
    return Deployment(Settings.from_environment)
