"""The service as people run it, on a Kafka of its own: broker, topics, model, producer, Dagster's daemons, a webhook.

Belongs here: putting it together, watching it, and knowing when it is over. Does not: faults (`faults.py`,
`injection.py`), what is found afterwards (`history.py`), whether that is right (`checker.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from threading import Event, Thread

import yaml

from churn_pipeline.cli.stream_watch import Sight, look
from churn_pipeline.deployments import Deployment, Settings
from churn_pipeline.errors import ChurnPipelineError
from churn_pipeline_tests.builders import customer_file, trained_home
from churn_pipeline_tests.kafka.apache_kafka import Broker
from churn_pipeline_tests.kafka.fixtures import create_topic
from churn_pipeline_tests.kafka.torture.daemons import Daemon
from churn_pipeline_tests.kafka.torture.faults import Wanted
from churn_pipeline_tests.kafka.torture.injection import Injection
from churn_pipeline_tests.kafka.torture.production import Production
from churn_pipeline_tests.resources.alert_servers import webhook

SOURCE, PREDICTIONS, DEAD_LETTERS = "customers", "churn_predictions", "churn_dead_letters"
_INSTANCE = Path(__file__).parents[3] / "dagster.yaml"
_MALFORMED = 0.01
_TICKS_SECONDS = 40.0


@dataclass(frozen=True)
class Size:
    """How much is sent, and how it is cut.

    Attributes:
        customers: different ones; each comes again and again.
        batch: most messages of a batch.
        patience: seconds after the last fault until everything must be over.
        start_seconds: after which a run that does not start is over, as in dagster.yaml; None: as it is there.
    """

    messages: int
    customers: int
    batch: int
    patience: float
    partitions: int = 6
    start_seconds: int | None = None


@dataclass(frozen=True)
class Rig:
    """The running service.

    Attributes:
        alerts: bodies that the webhook received, in that order.
    """

    deployment: Deployment
    broker: Broker
    daemons: tuple[Daemon, Daemon]
    production: Production
    alerts: list[dict[str, object]]
    say: Callable[[str], None]

    def torture(self, wanted: Wanted, faults_log: Path, moment_seconds: float) -> None:
        """Every fault, one after the other."""
        injection = Injection(
            self.broker, SOURCE, self.daemons, self.production, faults_log, self.say, moment_seconds=moment_seconds
        )
        with self._watched():
            for fault in wanted.planned():
                injection.inject(fault)

    def wait_until_over(self, patience: float) -> str | None:
        """Until everything was sent and scored, people were told, and no run is left.

        Returns:
            What is left if that takes longer than `patience` seconds.
        """
        with self._watched():
            if not _comes(self._is_over, patience):
                return f"after {patience:.0f} s without a fault: {self._seen()}"
            # Sensors find runs whose process is gone, if they are to find them, at one of their next ticks.
            _comes(lambda: not any(daemon.has_open_runs() for daemon in self.daemons), _TICKS_SECONDS)
        return None

    def _is_over(self) -> bool:
        if not self.production.is_over or any(daemon.runs() for daemon in self.daemons):
            return False
        try:
            return look(self.deployment).settled
        except ChurnPipelineError:
            return False  # such as a broker that is slow to answer on a busy machine

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Say every half a minute how far it is."""
        over = Event()

        def watch() -> None:
            while not over.wait(30):
                self.say(self._seen())

        watcher = Thread(target=watch, name="watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _seen(self) -> str:
        try:
            sight = look(self.deployment)
        except ChurnPipelineError as error:
            return str(error)
        sending = "all was sent" if self.production.is_over else "sending"
        return f"{sending}, {_words(sight)}, {len(self.alerts)} alerts received"


@contextmanager
def rig(
    folder: Path, broker: Broker, size: Size, seconds: float, seed: int, say: Callable[[str], None]
) -> Iterator[Rig]:
    """Start everything but the broker; at the end nothing of it is left but files.

    Args:
        broker: running, with nothing in it.
        folder: for everything that is written, but for Kafka's data.
        seconds: over how long messages are sent.
    """
    logs = folder / "logs"
    logs.mkdir(parents=True)
    with ExitStack() as running:
        for topic in (SOURCE, PREDICTIONS, DEAD_LETTERS):
            create_topic(broker.bootstrap, topic, size.partitions, max_message_bytes=4_000_000)
        port, received = running.enter_context(webhook())
        deployment = _deployment(folder, size, broker.bootstrap, f"json://127.0.0.1:{port}")
        say("a champion is there")
        environment = _environment(deployment)
        first, second = (_daemon(folder, name, size, environment) for name in ("first", "second"))
        running.enter_context(first)
        running.callback(second.__exit__, None, None, None)
        customers = customer_file(folder / "stream.csv", size.customers, seed=seed)
        arguments = [str(customers), "--count", str(size.messages), "--rate", f"{size.messages / seconds:.1f}"]
        arguments += ["--malformed", str(_MALFORMED), "--seed", str(seed)]
        arguments += ["--checkpoint", str(folder / "checkpoint.json")]
        production = running.enter_context(Production(arguments, environment, logs / "produce.log"))
        yield Rig(deployment, broker, (first, second), production, received, say)


def _deployment(folder: Path, size: Size, bootstrap: str, alert_url: str) -> Deployment:
    trained = trained_home(folder)
    settings = replace(
        trained.settings,
        kafka_servers=bootstrap,
        kafka_topic=SOURCE,
        kafka_predictions=PREDICTIONS,
        kafka_dead_letters=DEAD_LETTERS,
        kafka_batch_messages=str(size.batch),
        # Each fault may cost an attempt, and none may cost a person's time.
        kafka_attempts="1000",
        # The last batch may be one malformed message.
        reject_limit="1.0",
        alert_urls=alert_url,
    )
    return Deployment(lambda: settings)


def _environment(deployment: Deployment) -> dict[str, str]:
    """The deployment's settings, and none of the developer's."""
    settings = deployment.settings
    own = {item.metadata["variable"]: str(getattr(settings, item.name)) for item in fields(Settings)}
    return {**os.environ, **own, "PYTHONWARNINGS": "ignore", "MLFLOW_DISABLE_TELEMETRY": "true"}


def _daemon(folder: Path, name: str, size: Size, environment: dict[str, str]) -> Daemon:
    home = folder / f"dagster-{name}"
    home.mkdir()
    settings = yaml.safe_load(_INSTANCE.read_text(encoding="utf-8"))
    if size.start_seconds:
        settings["run_monitoring"]["start_timeout_seconds"] = size.start_seconds
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return Daemon(name, home, folder / "logs", environment)


def _comes(is_there: Callable[[], bool], patience: float) -> bool:
    give_up_at = time.monotonic() + patience
    while not is_there():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(1)
    return True


def _words(sight: Sight) -> str:
    scored = sum(row.rows_read for row in sight.batches)
    unfinished = f"{sight.unfinished.id} under way" if sight.unfinished else "none under way"
    return f"{scored:,} scored in {len(sight.batches)} batches, {unfinished}, {sight.lag:,} wait"
