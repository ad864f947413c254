"""`churn-pipeline demo-stream`: from messages to scores, with a broker and Dagster's daemon of its own.

Belongs here: the order of the steps, and when it is over. Does not: what can be seen of a stream (`stream_watch.py`),
how that is told (`stream_report.py`), messages (`resources/topics/demo_messages.py`), ending the daemon
(`child_process.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.scoring import require_home

if TYPE_CHECKING:
    from subprocess import Popen

    from churn_pipeline.cli.stream_report import Ending, Lines, Outcome
    from churn_pipeline.cli.stream_watch import Results, Sight
    from churn_pipeline.deployments import Deployment
    from churn_pipeline.resources.topics.demo_producer import Delivered

_DEFINITIONS = "churn_pipeline.definitions"
_LOOK_EVERY_SECONDS = 1.0

_INSTANCE = """\
# Written by churn-pipeline demo-stream.
telemetry:
  enabled: false
nux:
  enabled: false
# A run starts with the tick that asks for it, not when a queue is looked at next.
run_coordinator:
  module: dagster.core.run_coordinator
  class: DefaultRunCoordinator
"""


@dataclass(frozen=True)
class _Wanted:
    """What is sent: `rate` customers a second for `seconds`, a share of them malformed."""

    rate: int
    seconds: int
    malformed: float

    @property
    def count(self) -> int:
        return self.rate * self.seconds


@click.command(cls=Command, json=True)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Folder of everything produced; by default stream/ in CHURN_HOME.",
)
# The embedded broker keeps some 40,000 customers of a topic; what does not fit is lost.
@click.option("--rate", type=click.IntRange(1, 500), default=20, show_default=True, help="Customers a second.")
@click.option("--seconds", type=click.IntRange(1, 60), default=30, show_default=True, help="How long they are sent.")
@click.option(
    "--malformed",
    type=click.FloatRange(0, 1),
    default=0.03,
    show_default=True,
    metavar="SHARE",
    help="Spoil this share of them, each in one of many ways.",
)
@click.option(
    "--timeout",
    type=click.IntRange(min=1),
    default=180,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so long.",
)
@click.option("--ui", is_flag=True, help="Start Dagster's UI too, and let all of it run until Ctrl-C.")
def demo_stream(home: Path | None, rate: int, seconds: int, malformed: float, timeout: int, ui: bool) -> Answer:
    """From messages to scores, with a broker of its own.

    Makes customers up and sends them to a topic, while a sensor has them scored batch by batch. Stops by itself once
    each message is a prediction or a dead letter, and people were told of every batch. No setting but CHURN_HOME
    counts. The next one replaces what this one leaves in its folder, but for the model.
    """
    from churn_pipeline.cli import stream_report
    from churn_pipeline.cli.stream_home import stream_home
    from churn_pipeline.resources.topics.embedded import EmbeddedBroker

    # The runs of this demonstration are not for a history that others share.
    os.environ.pop("DAGSTER_HOME", None)
    wanted = _Wanted(rate, seconds, malformed)
    with stream_home(home) as folder, EmbeddedBroker() as broker:
        deployment = _deployment(folder, broker.bootstrap, _free_port() if ui else None)
        _prepare(deployment)
        outcome = _streamed(deployment, wanted, timeout, ui)
        parts = list(stream_report.told(outcome, deployment))
    return Answer(parts, stream_report.value(outcome), outcome.exit_code)


def _deployment(folder: Path, bootstrap: str, ui_port: int | None) -> Deployment:
    """Default settings, whatever the environment says: it may name a topic or a registry that is in use."""
    from churn_pipeline.deployments import Deployment, Settings

    usual = Settings()
    settings = replace(
        usual,
        home=str(folder),
        kafka_servers=bootstrap,
        kafka_topic="customers",
        kafka_predictions="churn_predictions",
        kafka_dead_letters="dead_letters",
        # The last batch may be one malformed message.
        reject_limit="1.0",
        dagster_url=f"http://127.0.0.1:{ui_port}" if ui_port else usual.dagster_url,
    )
    return Deployment(lambda: settings)


def _prepare(deployment: Deployment) -> None:
    """Make a Dagster instance, and a model if there is none."""
    from churn_pipeline.cli.demo import make_samples, train_if_needed
    from churn_pipeline.resources.run_history import local_instance

    require_home(deployment)
    make_samples(deployment)
    instance = _instance(deployment)
    instance.mkdir()
    (instance / "dagster.yaml").write_text(_INSTANCE, encoding="utf-8")
    with local_instance(deployment.settings.folder) as history:
        train_if_needed(deployment, history)


def _streamed(deployment: Deployment, wanted: _Wanted, timeout: int, ui: bool) -> Outcome:
    """Start everything, watch until it is over, end everything."""
    from churn_pipeline.cli.stopping import asked_to_stop
    from churn_pipeline.cli.stream_report import Lines, Outcome
    from churn_pipeline.cli.stream_watch import results_of

    settings, begun = deployment.settings, time.monotonic()
    log = settings.folder / "daemon.log"
    with (
        asked_to_stop() as asked,
        Lines(settings) as lines,
        _dagster(deployment, "dagster._daemon", "run", log=log) as daemon,
        _webserver(deployment, ui) as address,
        results_of(settings) as results,
    ):
        lines.begin(wanted.rate, wanted.seconds, wanted.malformed, log, address)
        with _sending(deployment, wanted) as sending:
            ending, sight = _watched(deployment, sending, results, daemon, asked, begun + timeout, lines)
        outcome = Outcome(
            ending, time.monotonic() - begun, timeout, wanted.count, sending.delivered, sight, results, log
        )
        if address and ending != "interrupted":
            lines.stay(address)
            asked.wait()
    return outcome


def _watched(
    deployment: Deployment,
    sending: _Sending,
    results: Results,
    daemon: Popen[bytes],
    asked: Event,
    give_up_at: float,
    lines: Lines,
) -> tuple[Ending, Sight]:
    """Look again and again, and say why that came to an end."""
    from churn_pipeline.cli.stream_watch import Sight, look

    sight = Sight()
    while True:
        sent_all = sending.is_over
        if sending.acknowledged:  # before that there is no topic
            sight = look(deployment)
            # After the look, so that what a published batch has sent is there to be counted.
            results.receive()
            lines.show(sight, results)
        if sent_all and sight.settled and results.accounted >= sending.acknowledged:
            return "done", sight
        if asked.wait(_LOOK_EVERY_SECONDS):
            return "interrupted", sight
        if daemon.poll() is not None:
            return "daemon ended", sight
        if time.monotonic() > give_up_at:
            return "late", sight


class _Sending:
    """Messages on their way in a thread of their own."""

    acknowledged = 0
    _future: Future[Delivered]

    def __init__(self, deployment: Deployment, wanted: _Wanted, pool: ThreadPoolExecutor, stop: Event) -> None:
        from itertools import islice

        from churn_pipeline.resources.topics.demo_messages import DemoStream, records_of_table
        from churn_pipeline.resources.topics.demo_producer import send
        from churn_pipeline.sample import sample

        contract, settings = deployment.contract(), deployment.settings
        records = records_of_table(sample(contract, wanted.count, seed=3))
        stream = DemoStream(records, contract, contract.id.column, malformed=wanted.malformed)
        self._future = pool.submit(
            send,
            settings.connection(),
            settings.kafka_topic,
            islice(stream.since(0), wanted.count),
            rate=wanted.rate,
            acknowledged=self._acknowledge,
            stop=stop.is_set,
        )

    @property
    def is_over(self) -> bool:
        """Whether all were sent and acknowledged.

        Raises:
            MessagesNotDelivered: they could not be.
        """
        return self._future.done() and self._future.result() is not None

    @property
    def delivered(self) -> Delivered:
        """What was acknowledged; waits until that is known."""
        return self._future.result()

    def _acknowledge(self, _: int, end: int) -> None:
        self.acknowledged = end


@contextmanager
def _sending(deployment: Deployment, wanted: _Wanted) -> Iterator[_Sending]:
    """Send while the block runs."""
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield _Sending(deployment, wanted, pool, stop)
        finally:
            stop.set()


@contextmanager
def _dagster(deployment: Deployment, module: str, *arguments: str, log: Path) -> Iterator[Popen[bytes]]:
    """A program of Dagster's on the definitions, with the settings of the deployment and no others."""
    from churn_pipeline.cli.child_process import child_process

    settings = deployment.settings
    own = {item.metadata["variable"]: getattr(settings, item.name) for item in fields(settings)}
    environment = {**os.environ, **own, "DAGSTER_HOME": str(_instance(deployment))}
    with child_process(module, *arguments, "-m", _DEFINITIONS, environment=environment, log=log) as child:
        yield child


@contextmanager
def _webserver(deployment: Deployment, wanted: bool) -> Iterator[str | None]:
    """Dagster's UI at the address that alerts link to, if wanted."""
    if not wanted:
        yield None
        return
    settings = deployment.settings
    host, _, port = settings.dagster_url.removeprefix("http://").partition(":")
    log = settings.folder / "webserver.log"
    with _dagster(deployment, "dagster_webserver", "-h", host, "-p", port, log=log):
        yield settings.dagster_url


def _instance(deployment: Deployment) -> Path:
    return deployment.settings.folder / "dagster"


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
