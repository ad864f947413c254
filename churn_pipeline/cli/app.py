"""`churn-pipeline` itself: its commands in the order a newcomer meets them, and what its exit codes mean.

Belongs here: putting the commands together. Does not: any command.
"""

import click

from churn_pipeline.cli.batches import batches
from churn_pipeline.cli.broker import broker
from churn_pipeline.cli.command import Commands
from churn_pipeline.cli.contract import contract
from churn_pipeline.cli.demo import demo
from churn_pipeline.cli.demo_stream import demo_stream
from churn_pipeline.cli.doctor import doctor
from churn_pipeline.cli.plan import plan
from churn_pipeline.cli.produce import produce
from churn_pipeline.cli.replay_dead_letters import replay_dead_letters
from churn_pipeline.cli.rescore import rescore
from churn_pipeline.cli.run import run
from churn_pipeline.cli.sample import sample
from churn_pipeline.cli.score import score
from churn_pipeline.cli.show import show
from churn_pipeline.cli.train import train

#: Exit code → meaning; the families of `errors.py`, and what only a command line knows.
EXIT_CODES = {
    0: "done",
    1: "unexpected error; --debug shows it",
    2: "wrong usage, setting or configuration file",
    3: "customers cannot be found or read",
    4: "the records, or too many of them, break the contract",
    5: "the model cannot be found, loaded or trusted",
    6: "the model cannot score what it was given",
    7: "a table or file cannot be written or read",
    8: "the work is done, an alert was not delivered",
    9: "doctor found a fault",
    130: "interrupted",
}

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())


@click.group(cls=Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="churn-pipeline", message="churn-pipeline %(version)s")
def app() -> None:
    """Customer records in, churn scores out.

    Settings come from environment variables (CHURN_HOME, CHURN_SOURCE …; see the README). Options win over them.
    """


for _command in (
    demo,
    demo_stream,
    score,
    plan,
    run,
    train,
    show,
    batches,
    rescore,
    replay_dead_letters,
    contract,
    sample,
    broker,
    produce,
    doctor,
):
    app.add_command(_command)


def main() -> None:
    """Entry point; ends the process with an exit code."""
    app(prog_name="churn-pipeline")
