"""Sentences as lines under a cell of a notebook."""

import re
import textwrap
from collections.abc import Iterable

WIDTH = 100  # characters of a line under a cell
SENTENCE_ENDS = re.compile(r"(?<=[^\s.]\.)\s+(?=[A-Z0-9])")


def paragraph(*sentences: str) -> str:
    """Sentences as lines of WIDTH characters; empty ones are left out."""
    return textwrap.fill(" ".join(filter(None, sentences)), WIDTH, break_on_hyphens=False)


def learned(*readings: str) -> str:
    """The answers of several readings, the first sentence of each, as a list with one line or more for each."""
    first = [SENTENCE_ENDS.split(" ".join(reading.split()))[0] for reading in readings if reading]
    return "\n".join(
        textwrap.fill(f"- {text}", WIDTH, subsequent_indent="  ", break_on_hyphens=False) for text in first
    )


def counted(number: float, noun: str) -> str:
    """ "1 scan", "2,400 scans" """
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def one_sentence(answers: Iterable[str]) -> str:
    """Answers for several datasets as one sentence, so that the first sentence has them all; empty for none."""
    text = "; ".join(answers)
    return f"{text[:1].upper()}{text[1:]}." if text else ""
