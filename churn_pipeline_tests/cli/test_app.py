"""The shell around the commands: help, mistyped words, exit codes, errors in words, a clean standard output."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from churn_pipeline import errors
from churn_pipeline.cli import scoring
from churn_pipeline.cli import train as train_module
from churn_pipeline.cli.app import EXIT_CODES, app
from churn_pipeline.cli.command import Answer, Command, in_words
from churn_pipeline.contract.validation import TooManyRejected
from churn_pipeline.resources.alert_channels import AlertNotDelivered
from churn_pipeline.resources.customer_sources.duplicates import POLICIES
from churn_pipeline.resources.inference.choice import BACKENDS
from churn_pipeline.training.estimators import ESTIMATORS

HEAVY = "{'dagster', 'mlflow', 'pandas', 'pyarrow', 'numpy', 'pydantic', 'sklearn', 'rich', 'deltalake', 'yaml'}"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["--version"]])
def test_help_answers_without_importing_anything_heavy(arguments):
    found = python(
        f"import sys; sys.argv = ['churn-pipeline', *{arguments}]\n"
        "from churn_pipeline.cli import main\n"
        "try: main()\n"
        f"except SystemExit as done: sys.exit(done.code or ', '.join(sorted({HEAVY} & set(sys.modules))) or 0)"
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert "churn-pipeline" in found.stdout


def test_the_help_names_every_command_whole_and_every_exit_code():
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    assert all(f"\n  {name} " in said for name in app.commands) and "..." not in said.split("Commands:")[1]
    families = {family.exit_code for family in errors.ChurnPipelineError.__subclasses__()}
    assert {errors.ChurnPipelineError.exit_code, *families, 0, 9, 130} == set(EXIT_CODES)
    assert all(f"{code:>3}  {meaning}" in said for code, meaning in EXIT_CODES.items())


def test_the_words_that_options_take_are_those_that_exist():
    assert (scoring.BACKENDS, scoring.POLICIES, train_module.ESTIMATORS) == (BACKENDS, POLICIES, ESTIMATORS)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["scor"], "'score'"),
        (["contract", "chek"], "'check'"),
        (["score", "x.csv", "--contrct", "telco"], "'--contract'"),
        (["score", "x.csv", "--backend", "sklern"], "'sklearn'"),
        (["score", "x.csv", "--duplicates", "lst"], "'last'"),
        (["train", "x.csv", "--estimator", "random_forrest"], "'random_forest'"),
        (["contract", "check", "telko"], "'telco'"),
    ],
)
def test_a_mistyped_word_names_the_nearest(arguments, nearest):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert nearest in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("limit", ["7.5", "-1", "many", "nan"])
def test_a_limit_that_is_none_is_wrong_usage(limit):
    result = CliRunner().invoke(app, ["score", "x.csv", f"--reject-limit={limit}"])
    assert result.exit_code == 2 and "Write a count such as 100, or a share such as 0.05." in result.stderr


def test_an_error_keeps_its_words_and_code_under_what_dagster_wraps_around_it():
    wrapped = RuntimeError("Error occurred while executing op")
    wrapped.__cause__ = TooManyRejected("2 of 3 rows broke the contract.")
    told = in_words(wrapped)
    assert (told.message, told.exit_code) == ("2 of 3 rows broke the contract.", 4)


def test_a_failure_that_nobody_could_be_told_of_names_its_cause_first():
    untold = AlertNotDelivered("mail.example did not answer.")
    untold.__context__ = TooManyRejected("2 of 3 rows broke the contract.")
    told = in_words(untold)
    assert (told.message, told.exit_code) == ("2 of 3 rows broke the contract. mail.example did not answer.", 4)
    assert in_words(AlertNotDelivered("mail.example did not answer.")).exit_code == 8


def test_a_foreign_error_is_named_and_its_words_which_may_quote_a_customer_are_not():
    told = in_words(ValueError("could not convert 'Smith, 4 High Street'"))
    assert told.exit_code == 1 and "Smith" not in told.message
    assert told.message == "Stopped by an unexpected ValueError. Run again with --debug to see where."
    assert in_words(OSError(28, "No space left on device", "/data/x")).message.startswith(
        "Stopped by an unexpected OSError (No space left on device: /data/x)."
    )
    assert in_words(KeyboardInterrupt()).exit_code == 130


@click.command(cls=Command, json=True)
@click.option("--fail", is_flag=True)
def noisy(fail: bool) -> Answer:
    print("a library's chatter")
    if fail:
        raise TooManyRejected("2 of 3 rows broke the contract.")
    return Answer(["two words"], {"words": 2}, 9)


def test_only_the_answer_reaches_standard_output():
    result = CliRunner().invoke(noisy, ["--json"])
    assert json.loads(result.stdout) == {"words": 2} and result.exit_code == 9
    assert CliRunner().invoke(noisy, []).stdout == "two words\n"
    failed = CliRunner().invoke(noisy, ["--json", "--fail"])
    assert failed.stdout == "" and failed.stderr == "a library's chatter\nError: 2 of 3 rows broke the contract.\n"


def test_a_traceback_is_shown_only_when_asked_for():
    assert "Traceback" not in CliRunner().invoke(noisy, ["--fail"]).stderr
    debugged = CliRunner().invoke(noisy, ["--fail", "--debug"])
    assert debugged.exit_code == 4 and "Traceback" in debugged.stderr


def test_what_native_code_prints_does_not_reach_standard_output_either():
    found = python(
        "import os\nfrom churn_pipeline.cli.quiet import stdout_kept_clean\n"
        "with stdout_kept_clean():\n    os.write(1, b'native ')\n    os.system('printf child')\n"
        "print('answer')"
    )
    assert (found.stdout, found.stderr) == ("answer\n", "native child")
