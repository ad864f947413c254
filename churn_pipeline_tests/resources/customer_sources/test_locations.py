"""A location with a password is refused wherever one can be given, before anything keeps it."""

import pytest
from pydantic import ValidationError

from churn_pipeline import runs
from churn_pipeline.deployments import Settings
from churn_pipeline.inference_job import DeltaReader
from churn_pipeline.resources.customer_sources.base import SecretInLocation, without_password
from churn_pipeline.resources.customer_sources.delta_tables import DeltaSource

SECRETS = [
    "s3://key:hunter2@bucket/customers",
    "postgresql://me:hun/ter2@host:5432/shop",
    "sql:postgresql://me:hunter2@host/shop",
    "postgresql://host/shop?user=me&password=hunter2",
]


@pytest.mark.parametrize("location", SECRETS)
@pytest.mark.parametrize(
    "give",
    [
        DeltaSource,
        lambda location: runs.Request(source=location),
        lambda location: Settings.from_environment({"CHURN_SOURCE": location}),
        lambda location: Settings.from_environment({"CHURN_TRAINING_SOURCE": location}),
        lambda location: DeltaReader(path=location),
    ],
    ids=["source", "request", "setting", "training", "job"],
)
def test_a_password_in_a_location_is_refused_and_not_repeated(give, location):
    with pytest.raises((SecretInLocation, ValidationError), match="a password in it") as error:
        give(location)
    assert "ter2" not in str(error.value)


@pytest.mark.parametrize(
    "location",
    [
        "customers.csv",
        "exports/me:you@here/*.csv",
        "s3://bucket/customers",
        "abfss://container@account.dfs.core.windows.net/customers",
        "hdfs://namenode:9000/user@home/customers",
        "kafka:customers",
        "sql:select * from users where address like 'x://a:b@c'",
    ],
)
def test_other_locations_are_as_they_were(location):
    assert without_password(location) == location
