"""One trained home a process; each test works on a copy of it."""

import shutil

import pytest

from churn_pipeline import deployments
from churn_pipeline_tests.builders import trained_home


@pytest.fixture(scope="session")
def _trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, trained_home(folder)


@pytest.fixture
def deployment(_trained, tmp_path):
    """A deployment with a champion and no scored batch; its registry is shared, its tables are its own."""
    _, trained = _trained
    settings = trained.settings
    shutil.copytree(settings.folder / "dagster", tmp_path / "home" / "dagster")
    return deployments.test(
        tmp_path / "home",
        source=settings.source,
        training_source=settings.training_source,
        tracking_uri=f"sqlite:///{settings.folder}/mlflow/mlflow.db",
    )
