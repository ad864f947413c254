"""A shop of the shared champion, scored once by the real program; most tests call commands in this process on it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from churn_pipeline.cli.app import app
from churn_pipeline_tests.builders import customer_file

PROGRAM = Path(sys.executable).with_name("churn-pipeline")


@dataclass(frozen=True)
class Shop:
    """A home, customers to score, and a registry."""

    folder: Path
    customers: Path
    registry: str = ""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def settings(self) -> dict[str, str]:
        """Environment of its commands."""
        return {
            "CHURN_HOME": str(self.home),
            "CHURN_SOURCE": str(self.customers),
            "MLFLOW_TRACKING_URI": self.registry,
            "COLUMNS": "80",
        }

    def call(self, *arguments: object, **settings: str) -> Result:
        """A command in this process."""
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env={**self.settings, **settings})

    def value(self, *arguments: object, **settings: str):
        """What a command tells programs."""
        result = self.call(*arguments, "--json", **settings)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def program(self, *arguments: object) -> subprocess.Popen[str]:
        """The program itself, started in a process of its own."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return subprocess.Popen(
            [str(PROGRAM), *map(str, arguments)],
            env={**kept, **self.settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@dataclass(frozen=True)
class Said:
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str


def tree(folder: Path) -> dict[str, int]:
    """Every file below a folder, and when it was last written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="session")
def scored(_trained, tmp_path_factory):
    """The shop, and what `score --json` said of its customers."""
    _, champion = _trained
    folder = tmp_path_factory.mktemp("shop")
    customers = customer_file(folder / "customers.csv", 200, seed=2, broken=3)
    shop = Shop(folder, customers, f"sqlite:///{champion.settings.folder}/mlflow/mlflow.db")
    with shop.program("score", customers, "--json", "--output", folder / "scores.csv") as process:
        out, err = process.communicate()
    return shop, Said(process.returncode, out, err)


@pytest.fixture(scope="session")
def shop(scored):
    return scored[0]
