"""`churn-pipeline broker`: a Kafka broker for people without one.

Belongs here: the command. Does not: the broker (`resources/topics/embedded.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from churn_pipeline.cli.command import Answer, Command


@click.command(cls=Command)
def broker() -> Answer:
    """Run a broker for people without Kafka.

    It serves until Ctrl-C, is real enough to try things with, and forgets everything when it ends.
    """
    # Printed line by line while the broker runs, so that whoever started it can read where it is.
    return Answer(_while_running())


def _while_running() -> Iterator[str]:
    from churn_pipeline.cli.stopping import asked_to_stop
    from churn_pipeline.resources.topics.embedded import LIMITS, EmbeddedBroker

    with asked_to_stop() as asked, EmbeddedBroker() as running:
        yield f"export KAFKA_BOOTSTRAP_SERVERS={running.bootstrap}"
        yield "\nIt runs until Ctrl-C. What to know:"
        yield from (f"- {limit}" for limit in LIMITS)
        asked.wait()
    yield "Ended, and what it held is gone."
