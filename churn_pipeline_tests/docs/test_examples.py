"""Every command and every snippet of the documentation does what its page says, in the order of the page."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from churn_pipeline.deployments import Settings
from churn_pipeline_tests.docs.pages import REPOSITORY, Block, blocks, name_of, pages
from churn_pipeline_tests.docs.warm_commands import warm_commands

pytestmark = pytest.mark.slow

#: Folders of a clone that commands name or write to; `churn_pipeline` is linked.
_COPIED = ("confs", "deploy", "docs")

#: `make demo` is run; the other targets install, serve or test, so that only their being there is tried.
_MAKE = """#!/bin/bash
set -e
{make} --dry-run "$@" > /dev/null
if [ "$1" = demo ]; then exec churn-pipeline demo; fi
"""

_END = "end of command"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """No setting of the developer's, and PATH as in an activated environment."""
    ours = {field.metadata["variable"] for field in Settings.__dataclass_fields__.values()}
    given = {name: value for name, value in os.environ.items() if name not in {*ours, "DAGSTER_HOME", "FORCE_COLOR"}}
    given |= {"PYTHONWARNINGS": "ignore", "COLUMNS": "100", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with warm_commands(tmp_path / "bin", given) as stubs:
        make = stubs / "make"
        make.write_text(_MAKE.format(make=shutil.which("make")), encoding="utf-8")
        make.chmod(0o755)
        yield {**given, "PATH": f"{stubs}:{given['PATH']}"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The repository as a reader has it: nothing made yet."""
    clone = tmp_path / "churn-pipeline"
    clone.mkdir()
    for name in _COPIED:
        shutil.copytree(REPOSITORY / name, clone / name)
    for path in REPOSITORY.iterdir():
        if path.is_file():
            shutil.copy(path, clone)
    (clone / "churn_pipeline").symlink_to(REPOSITORY / "churn_pipeline")
    return clone


def test_everything_the_pages_tell_to_run_runs_as_they_say(clone, environment, tmp_path, subtests):
    readme, *others = pages()
    with subtests.test(page=name_of(readme)):
        _follow(readme, clone, environment)
    # Whoever reads on has followed the README, which makes the demo; but not the other pages.
    for number, page in enumerate(others):
        with subtests.test(page=name_of(page)):
            own = tmp_path / f"{number}" / "churn-pipeline"
            shutil.copytree(clone, own, symlinks=True)
            _follow(page, own, environment)


def _follow(page: Path, clone: Path, environment: dict[str, str]) -> None:
    with Shell(clone, environment) as shell:
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.file:
                (clone / block.file).write_text(block.text, encoding="utf-8")
            elif not block.not_run:
                _run(shell, block, page)


def _run(shell: "Shell", block: Block, page: Path) -> None:
    where = f"{name_of(page)}:{block.line}"
    assert block.language not in ("bash", "sh", "shell"), f"{where}: commands stand in `console` blocks, after '$ '"
    if block.language == "python":
        (shell.folder / "snippet.py").write_text(block.text, encoding="utf-8")
        code, said = shell.run("python snippet.py")
        assert code == 0, f"{where}:\n{said}"
    if block.language == "console":
        for line, command, expected in block.commands():
            code, said = shell.run(command)
            where = f"{name_of(page)}:{line}: $ {command}"
            assert code == 0, f"{where}\nended with exit code {code}:\n{said}"
            missing = _first_missing(expected, said)
            assert missing is None, f"{where}\nhas no line {missing!r} there in its output:\n{said}"


def _first_missing(expected: list[str], said: str) -> str | None:
    """The first expected line that does not come, in its place, in what was said."""
    lines = iter(" ".join(line.split()) for line in said.splitlines())
    for line in (line for line in expected if line.strip(" …")):
        parts = [" ".join(part.split()) for part in line.split("…")]
        if not any(_fits(found, parts) for found in lines):
            return line
    return None


def _fits(line: str, parts: list[str]) -> bool:
    first, *rest = parts
    if not rest:
        return line == first
    place = len(first)
    for part in rest[:-1]:
        place = line.find(part, place) + len(part) if part in line[place:] else len(line) + 1
    return line.startswith(first) and place <= len(line) - len(rest[-1]) and line.endswith(rest[-1])


class Shell:
    """One bash for a page, so that variables a reader sets are there in later commands."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._bash = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> "Shell":
        return self

    def __exit__(self, *error: object) -> None:
        with self._bash:  # closes its pipes and waits
            self._bash.kill()

    def run(self, command: str) -> tuple[int, str]:
        """Exit code, and standard output and error together."""
        bash_in, bash_out = self._bash.stdin, self._bash.stdout
        assert bash_in is not None and bash_out is not None
        bash_in.write(f'{{ {command}\n}} < /dev/null\necho; echo "{_END} $?"\n')
        bash_in.flush()
        said = []
        for line in bash_out:
            if line.startswith(_END):
                return int(line.rpartition(" ")[2]), "".join(said)
            said.append(line)
        raise AssertionError(f"the shell ended in {command!r}:\n{''.join(said)}")
