"""The documentation's pages and what can be run in them.

Belongs here: finding pages, and reading their fenced blocks, tables and links. Does not: running anything
(`test_examples.py`), what must be true of a page (`test_catalogue.py`).

In a page, `console` blocks hold commands after `$ ` (a line that ends in a backslash goes on in the next) and, below
each, lines that its output must have, in that order; `…` stands for anything. `python` blocks are scripts of their
own. An HTML comment above a block says what else is to be done with it: `<!-- not run: why -->`, or
`<!-- file: name -->` for a block of any language that is written to a file, as the reader is asked to do.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<what>not run|file): (?P<said>[^\n]+?) -->\n+)?^```(?P<language>\S*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: where it begins in its page.
        file: name of the file it is to be written to.
        not_run: why it is not run.
    """

    language: str
    text: str
    line: int
    file: str | None = None
    not_run: str | None = None

    def commands(self) -> Iterator[tuple[int, str, list[str]]]:
        """Line in the page, command, and the lines its output must have."""
        found: list[tuple[int, str, list[str]]] = []
        goes_on = False
        for number, line in enumerate(self.text.splitlines(), self.line + 1):
            if goes_on:
                at, command, _ = found[-1]
                found[-1] = (at, f"{command}\n{line}", [])
            elif line.startswith("$ "):
                found.append((number, line[2:], []))
            elif found:
                found[-1][2].append(line)
            else:
                raise AssertionError(f"line {number}: a console block begins with a command after '$ '")
            goes_on = line.endswith("\\") and (goes_on or line.startswith("$ "))
        return iter(found)


def pages() -> list[Path]:
    """Every page that people read, the README first."""
    folders = [REPOSITORY / name for name in ("docs", "data", "deploy")]
    return [REPOSITORY / "README.md", *(page for folder in folders for page in sorted(folder.glob("*.md")))]


def name_of(page: Path) -> str:
    """The page as the repository has it."""
    return page.relative_to(REPOSITORY).as_posix()


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(
            match["language"],
            match["text"],
            text.count("\n", 0, match.start("language")) + 1,
            match["said"] if match["what"] == "file" else None,
            match["said"] if match["what"] == "not run" else None,
        )
        for match in _BLOCK.finditer(text)
    ]


def prose(text: str) -> str:
    """A page without its blocks."""
    return _BLOCK.sub("", text)


def links(text: str) -> list[str]:
    """Where a page points to, pictures included."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def anchors(text: str) -> set[str]:
    """What a link can point at within a page, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table_rows(text: str, first_column: str) -> list[list[str]]:
    """Cells of the Markdown table whose first heading is `first_column`, without headings."""
    rows = re.search(rf"^\| *{re.escape(first_column)} *\|.*\n\|[-| :]+\|\n((?:\|.*\|\n?)+)", text, re.MULTILINE)
    if rows is None:
        return []
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in rows[1].splitlines()]
