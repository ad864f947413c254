"""What every test has: a tier, no environment of the developer's, and warnings that are errors.

Tiers: fast (unmarked), `slow`, `kafka` (slow, and needs a real broker), `postgres` (slow, and needs a PostgreSQL to
start), `spark` (slow, and needs Java), and later `browser`. A test belongs to the lowest one that can prove it.
"""

import os
import shutil
import time

import pytest

from churn_pipeline import deployments
from churn_pipeline.deployments import Settings
from churn_pipeline_tests.builders import trained_home
from churn_pipeline_tests.kafka.fixtures import (  # noqa: F401 - fixtures for all
    BROKERS,
    kafka_broker,
    make_topic,
    new_broker,
    new_cluster,
    secured_broker,
)
from churn_pipeline_tests.postgres.fixtures import POSTGRES, postgres  # noqa: F401 - a fixture for all
from churn_pipeline_tests.resources.alert_servers import webhook
from churn_pipeline_tests.spark.fixtures import (  # noqa: F401 - fixtures for all
    SPARKS,
    spark,
    spark_cluster,
    spark_connect,
)

#: An unmarked test that takes longer than this on two slow cores belongs to the slow tier.
FAST_LIMIT_SECONDS = 30.0


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch):
    """Tests see defaults, whatever the shell has set."""
    for field in Settings.__dataclass_fields__.values():
        monkeypatch.delenv(field.metadata["variable"], raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def pytest_collection_modifyitems(items):
    """What a test asks for decides its tier: a whole flow on a trained home is slow, and so is a real broker."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if not BROKERS.isdisjoint(fixtures):
            item.add_marker(pytest.mark.kafka)
        if not SPARKS.isdisjoint(fixtures):
            item.add_marker(pytest.mark.spark)
        if not POSTGRES.isdisjoint(fixtures):
            item.add_marker(pytest.mark.postgres)
        if "_trained" in fixtures or any(item.get_closest_marker(tier) for tier in ("kafka", "postgres", "spark")):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    started = time.monotonic()
    result = yield
    seconds = time.monotonic() - started
    if seconds > FAST_LIMIT_SECONDS and not item.get_closest_marker("slow") and not os.environ.get("PYTEST_SLOW_OK"):
        pytest.fail(f"took {seconds:.0f} s: mark it slow, or make it faster", pytrace=False)
    return result


@pytest.fixture(scope="session")
def _trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, trained_home(folder)


@pytest.fixture
def deployment(_trained, tmp_path):
    """A deployment with a champion and no scored batch; its tables are its own, its registry is shared.

    A test may train: the registry gets its champion back.
    """
    _, trained = _trained
    settings = trained.settings
    shutil.copytree(settings.folder / "dagster", tmp_path / "home" / "dagster")
    yield deployments.test(
        tmp_path / "home",
        source=settings.source,
        training_source=settings.training_source,
        tracking_uri=f"sqlite:///{settings.folder}/mlflow/mlflow.db",
    )
    registry = trained.model_registry()
    if registry.version_of_alias(settings.model, settings.alias) != "1":
        registry.set_alias(settings.model, settings.alias, "1")


@pytest.fixture
def webhook_received():
    """A real HTTP endpoint: its Apprise URL, and what it received."""
    with webhook() as (port, received):
        yield f"json://127.0.0.1:{port}", received
