"""What `score` and `plan` are given: the same arguments, read the same way.

Belongs here: the arguments, and the deployment and request they make. Does not: scoring, planning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from churn_pipeline.cli.command import OneOf
from churn_pipeline.cli.output import Output, require_writable

if TYPE_CHECKING:
    from churn_pipeline.deployments import Deployment
    from churn_pipeline.runs import Request

F = TypeVar("F", bound=Callable[..., Any])

# As in resources/inference/choice.py and customer_sources/duplicates.py, whose import would slow down `--help`; a test
# holds them equal.
BACKENDS = ("sklearn", "spark", "auto")
POLICIES = ("keep", "last", "reject")


class LimitType(click.ParamType[str]):
    """A count such as `100`, or a share such as `0.05`; stays text, as runs take it."""

    name = "count or share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the text."""
        from churn_pipeline.contract.validation import RejectLimit

        try:
            RejectLimit.parse(str(value))
        except ValueError:
            self.fail(f"{value!r} is no limit. Write a count such as 100, or a share such as 0.05.", param, ctx)
        return str(value)


class Moment(click.ParamType[datetime]):
    """A time, UTC if it names no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read ISO 8601."""
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time. Write it as 2026-11-01T00:00:00Z.", param, ctx)
        return at if at.tzinfo else at.replace(tzinfo=UTC)


contract_option = click.option("--contract", metavar="NAME|FILE", help="Contract: one that ships, or a YAML file.")

_ARGUMENTS = (
    click.argument("source"),
    contract_option,
    click.option("--model", metavar="ALIAS|VERSION", help="Which version scores: champion, 3, models:/name@alias."),
    click.option("--backend", type=OneOf(BACKENDS), help="What scores."),
    click.option("--reasons", type=click.IntRange(min=0), metavar="COUNT",
                 help="Reasons on each row: this many up, and down; 0 for none."),
    click.option("--output", metavar="PLACE", help="A .csv, .parquet or .jsonl file for the predictions, beside the "
                 "tables; or a folder or URI for the tables."),
    click.option("--limit", type=click.IntRange(min=1), metavar="ROWS", help="Read only the first rows."),
    click.option("--reject-limit", type=LimitType(), metavar="COUNT|SHARE",
                 help="Most rows that may break the contract: 100, or 0.05."),
    click.option("--duplicates", type=OneOf(POLICIES), help="Rows with an id seen before."),
)  # fmt: skip


def scoring_arguments(function: F) -> F:
    """Add SOURCE and the options of scoring to a command; its function takes them as keywords."""
    for argument in reversed(_ARGUMENTS):
        function = argument(function)
    return function


@dataclass(frozen=True)
class Asked:
    """What to score, where, and where to."""

    deployment: Deployment
    request: Request
    output: Output


def asked(source: str, contract: str | None, output: str | None, **request: Any) -> Asked:
    """Make sense of the arguments.

    Raises:
        UsageError, PlaceNotWritable: before anything is read.
    """
    from churn_pipeline.runs import Request

    place = Output.read(output)
    return Asked(deployment_of(contract=contract, tables=place.tables), Request(source=source, **request), place)


def deployment_of(**overrides: str | None) -> Deployment:
    """The deployment of the environment's settings, options first.

    Raises:
        SettingInvalid, ContractFileError
    """
    from churn_pipeline.deployments import Deployment, Settings

    settings = Settings.from_environment(None, **overrides)
    deployment = Deployment(lambda: settings)
    deployment.contract()
    return deployment


def require_home(deployment: Deployment) -> None:
    """Find out before the work whether its home can be written.

    Raises:
        PlaceNotWritable: it cannot.
    """
    require_writable(deployment.settings.folder, folder=True)
