"""What every command has in common: `--debug`, `--json`, an answer to print, a sentence for each error.

Belongs here: the shell around a command. Does not: what any command says (`report.py` and the commands).
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import click

from churn_pipeline.cli.quiet import quiet, stdout_kept_clean
from churn_pipeline.errors import AlertError, explanations

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Exit code of a command that was stopped.
INTERRUPTED = 130
_JSON, _DEBUG = "churn_pipeline.json", "churn_pipeline.debug"


@dataclass(frozen=True)
class Answer:
    """What a command has to say; nothing else of a command reaches standard output.

    Attributes:
        parts: for people: lines of text and Rich tables.
        value: for programs, with `--json`: one JSON value.
    """

    parts: Iterable[RenderableType] = ()
    value: Any = None
    exit_code: int = 0


class Command(click.Command):
    """A command whose function returns an `Answer`.

    Args:
        json: offer `--json`.
    """

    def __init__(self, *args: Any, json: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        if json:
            self.params.append(_flag("--json", _JSON, "Print one JSON value on standard output, and nothing else."))
        self.params.append(_flag("--debug", _DEBUG, "Show logs, and errors with their traceback."))

    def invoke(self, ctx: click.Context) -> None:
        """Work in quiet, then print."""
        debug = bool(ctx.meta.get(_DEBUG))
        with _errors_in_words(debug), stdout_kept_clean(), quiet(debug):
            answer: Answer | None = super().invoke(ctx)
        if answer is None:
            return
        if ctx.meta.get(_JSON):
            click.echo(json.dumps(answer.value, ensure_ascii=False, indent=2))
        else:
            _print(answer.parts)
        ctx.exit(answer.exit_code)


class Commands(click.Group):
    """Commands in the order they were added; a mistyped one is answered with the nearest."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in that order."""
        del ctx
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; Click itself would name up to three, in the order of the alphabet."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            error.possibilities[1:] = []  # type: ignore[index]
            raise


class Stopped(click.ClickException):
    """An error as the command line tells it: one sentence or two, and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # Click knows one code for all errors of a class.

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence on standard error."""
        click.echo(f"{click.style('Error:', fg='red')} {self.message}", file=file, err=file is None)


class OneOf(click.Choice[str]):
    """One of some words; a mistyped one is answered with the nearest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        from difflib import get_close_matches

        near = get_close_matches(str(value), list(self.choices), n=1)
        return super().get_invalid_choice_message(value, ctx) + (f" Did you mean {near[0]!r}?" if near else "")


def _flag(name: str, key: str, sentence: str) -> click.Option:
    def keep(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.meta[key] = value

    return click.Option([name], is_flag=True, expose_value=False, callback=keep, help=sentence)


def _print(parts: Iterable[RenderableType]) -> None:
    from rich.console import Console

    # Numbers and paths stay plain; a line longer than the terminal is the terminal's to wrap, so that it copies whole.
    console = Console(highlight=False, markup=False, emoji=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str) or type(part).__name__ == "Text")


@contextmanager
def _errors_in_words(debug: bool) -> Iterator[None]:
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, SystemExit):
        raise
    except BaseException as error:
        if debug:
            traceback.print_exc()
        raise in_words(error) from error


def in_words(error: BaseException) -> Stopped:
    """The sentence for an error, whatever Dagster wrapped around it."""
    if "Interrupt" in type(error).__name__:  # Python's own, or what Dagster makes of it
        return Stopped("Interrupted. Nothing half-written counts; run it again.", INTERRUPTED)
    ours = explanations(error)
    # A failed run whose alert was not delivered either: the cause comes first, and that nobody was told.
    untold = [found for found in ours if isinstance(found, AlertError)]
    causes = [found for found in ours if found not in untold]
    if causes:
        return Stopped(" ".join(str(found) for found in [*causes[:1], *untold[:1]]), causes[0].exit_code)
    if untold:
        return Stopped(f"{untold[0]} Whether the batch is done: churn-pipeline batches.", untold[0].exit_code)
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    # Of a foreign error only what the operating system says: any other text may quote a customer's values.
    said = f" ({_system(error)})" if isinstance(error, OSError) and error.strerror else ""
    return Stopped(f"Stopped by an unexpected {kind}{said}. Run again with --debug to see where.", 1)


def _system(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
