"""Lists of labels as text: their encoding, their separator, and broken rows."""

import gzip
import re
import sys
import zlib
from functools import cache
from pathlib import Path

from lungkeras.system.text import printable, say
from lungkeras.system.untrusted.table_files import MOST_BYTES, check_csv

SEPARATORS = ",;\t|"
MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
# Without a byte order mark: which of the first four bytes are zero.
BY_ZEROS = {
    (False, True, False, True): "UTF-16-LE",
    (True, False, True, False): "UTF-16-BE",
    (False, True, True, True): "UTF-32-LE",
    (True, True, True, False): "UTF-32-BE",
}


class BrokenListError(Exception):
    """What is wrong with the text of a list, in a few words."""


def list_text(file: Path, *, own: bool = False) -> str:
    r"""The text of a list, which may be gzipped (.gz), lines separated by \n.

    A published list is in UTF-8. A list of the user's `own` may also be in UTF-16, UTF-32 or cp1252, in which older
    spreadsheets save; cp1252 is a guess, which a line on stderr reports.

    Raises BrokenListError if it is no such text, naming the encoding or the kind found, or the row of NUL bytes.
    """
    from lungkeras.datasets.scans.decoding import STARTS_WITHIN, kind_of

    try:
        with (gzip.open if file.suffix == ".gz" else open)(file, "rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BrokenListError(getattr(error, "strerror", None) or f"a damaged archive ({error})") from None
    try:
        check_csv(content, SEPARATORS.encode())
    except ValueError as error:
        raise BrokenListError(f"a list that is too large: {error}") from None
    encoding = _other_encoding(content)
    if encoding and not own:
        raise BrokenListError(f"a text in {encoding}, expected UTF-8 (save it as CSV UTF-8)")
    if (kind := kind_of(content[:STARTS_WITHIN])) not in ("text", "unknown", "empty", "zero bytes"):
        raise BrokenListError(f"not a text ({kind})")
    if not encoding and b"\0" in content:
        raise BrokenListError(f"NUL bytes in row {_row(content, content.index(0))}")
    text = _decoded(file, content, encoding, own).replace("\r\n", "\n").replace("\r", "\n")
    if encoding and "\0" in text:
        raise BrokenListError(f"NUL characters in row {len(text.partition(chr(0))[0].splitlines())}")
    text = text.lstrip("\n")
    return text.partition("\n")[2] if text[:4].lower() == "sep=" else text  # which spreadsheets write


def _decoded(file: Path, content: bytes, encoding: str | None, own: bool) -> str:
    """The text of a list in this encoding; with None in UTF-8, or in cp1252 if it is the user's own."""
    try:
        return content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        row = _row(content, error.start)
    if encoding:
        raise BrokenListError(f"a text in {encoding} that is damaged near row {row}")
    if not own:
        raise BrokenListError(f"a text in another encoding than UTF-8, likely cp1252 (row {row})")
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        row = _row(content, error.start)
        raise BrokenListError(f"a text that is neither UTF-8 nor cp1252 (row {row})") from None
    _report_guess(file, row)
    return text


@cache
def _report_guess(file: Path, row: int) -> None:
    """Reports, once per process, that a list is read as cp1252."""
    words = f"{file}: row {row} is not UTF-8; the list is read as cp1252. Save it as CSV UTF-8 if names look wrong"
    say(words, file=sys.stderr)


def _other_encoding(content: bytes) -> str | None:
    """UTF-16 or UTF-32, by the byte order mark or by the zero bytes of its first letter; None for neither."""
    if mark := next((name for start, name in MARKS if content.startswith(start)), None):
        return mark
    return BY_ZEROS.get(tuple(not byte for byte in content[:4]))


def _row(content: bytes, at: int) -> int:
    return max(content.count(end, 0, at) for end in (b"\n", b"\r")) + 1


def separator_of(heading: str) -> str:
    r"""The column separator: the most frequent of comma, semicolon, tab and bar in the header.

    >>> separator_of("Image Index;Finding Labels")
    ';'
    """
    return max(SEPARATORS, key=heading.count)


def broken_row(text: str, last_needed: int) -> str | None:
    """The first row that is cut short or holds two rows, in a few words; None if all are complete.

    A row may lack columns after `last_needed` (counted from 0), unless it is the last of a text that ends within it. A
    text with quotes is not checked, as a quoted column may hold a separator.
    """
    if '"' in text:
        return None
    lines = text.split("\n")
    separator = separator_of(lines[0])
    counts = [line.count(separator) for line in lines]
    for place, (line, count) in enumerate(zip(lines, counts, strict=True)):
        if not counts[0] >= count >= last_needed and line.strip():
            shown = f"({printable(line[:60])!r})"
            if count < last_needed:
                ends = not any(rest.strip() for rest in lines[place + 1 :])
                return f"{'its last row' if ends else f'row {place + 1}'} cut short {shown}"
            if "".join(line.split(separator)[counts[0] + 1 :]).strip():
                return f"{count + 1} columns in row {place + 1}, {counts[0] + 1} in the heading {shown}"
    if len(lines) > 2 and lines[-1].strip() and counts[-1] < max(counts[1:-1]):
        return f"its last row cut short ({printable(lines[-1][:60])!r})"
    return None


def letters_of(column: str) -> str:
    """The letters and digits of a column's name, without case, by which columns are found.

    >>> letters_of("Patient_ID"), letters_of("Image Index")
    ('patientid', 'imageindex')
    """
    return re.sub(r"[\W_]+", "", column).casefold()
