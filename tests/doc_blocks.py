"""The blocks of code of a page of docs/, and how each kind is run or checked."""

import contextlib
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from lungkeras import cli
from lungkeras.cli import program

CHECKOUT = Path(__file__).resolve().parents[1]
DOCS = CHECKOUT / "docs"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.S | re.M)


@dataclass(frozen=True)
class Block:
    """What stands between two fences, and the line of the page on which it begins."""

    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    return [Block(found[1], found[2], page[: found.start()].count("\n") + 2) for found in FENCE.finditer(page)]


def commands(text: str) -> list[list[str]]:
    """The words of each command of a block for a shell; `a && b` are two, a comment is none."""
    lines = text.replace("\\\n", " ").splitlines()
    parts = (part for line in lines for part in line.partition("  #")[0].split("&&"))
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def parsed(words: list[str]):
    """The arguments of a `lungkeras` command, read by its own parser; what a shell does with its output is left out."""
    end = next((place for place, word in enumerate(words) if word in (">", "|")), len(words))
    return program.parser().parse_args(words[1:end])


def execute(text: str, names: dict, at: str) -> str:
    """Runs a block of Python among these names, and returns what it prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(text, at, "exec"), names)
    return said.getvalue()


def run_page(name: str, replaced: dict[str, str], names: dict | None = None) -> dict:
    """Runs a page from top to bottom, its commands too, in the working directory, and returns the names that it left.

    `replaced` are smaller numbers for those of the page. A ```text block behind one of Python is what that prints.
    """
    page = (DOCS / name).read_text(encoding="utf-8")
    names, said = names if names is not None else {"__name__": "__page__"}, ""
    for block in blocks(page):
        text = block.text
        for long, short in replaced.items():
            text = text.replace(long, short)
        if block.language == "python":
            said = execute(text, names, f"{name}, line {block.line}")
        elif block.language == "text":
            assert said.strip() == text.strip(), f"{name}, line {block.line} prints\n{said}"
        elif block.language == "sh":
            for words in commands(text):
                if words[0] == "lungkeras":
                    assert cli.main(words[1:]) == 0, f"{name}, line {block.line}: {' '.join(words)}"
    return names
