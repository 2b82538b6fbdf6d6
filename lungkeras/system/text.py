"""Makes names from outside safe to show: on a terminal, in a spreadsheet, in Markdown."""

import os
import re
import sys
import unicodedata
from typing import IO

FORMULA_STARTS = ("=", "+", "-", "@")
CELL_ENDS = re.compile(r"([;|])")
MARKDOWN = re.compile(r"[\\`*_{}\[\]<>|&~$@]|:(?=//)|(?<=www)\.")


def printable(text: object) -> str:
    r"""Text that is safe to show: characters that a terminal, a viewer or an encoder acts on become escapes.

    Control characters (ESC, newline, bell), those that turn the direction of writing, and bytes of a file name that are
    not UTF-8 become \x1b, \u202e, \udcff. All else, accents and other scripts, stays.

    >>> printable("scan\x1b[2J.png")
    'scan\\x1b[2J.png'
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(_escaped(character) if _acts(character) else character for character in text)


def _acts(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", errors="surrogatepass").decode()


def say(*lines: object, file: IO[str] | None = None) -> None:
    """Prints each as one line of text, whatever it holds; terminal control characters are shown as their escapes."""
    file = file or sys.stdout
    for line in lines:
        text = printable(line)
        try:
            print(text, file=file, flush=True)
        except UnicodeEncodeError:  # a terminal that can't show every letter
            print(text.encode(file.encoding, "backslashreplace").decode(file.encoding), file=file, flush=True)


def utf8(text: str) -> str:
    """Text that can be encoded: invalid UTF-8 bytes of a file name are shown as their escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_spelt_here(path: object) -> bool:
    """Whether the locale reads a path as the UTF-8 that it is, so that every process finds it by its letters."""
    try:
        return os.fsencode(str(path)).decode() == str(path)
    except UnicodeEncodeError:
        return False
    except UnicodeDecodeError:  # no UTF-8 in any locale
        return True


def few_letters(path: object, encoding: str | None = None) -> str:
    """The sentence on a path that this locale can't spell."""
    encoding = encoding or sys.getfilesystemencoding()
    return (
        f"{printable(path)}: the encoding of this locale, {encoding}, can't spell it: set PYTHONUTF8=1 or a UTF-8 "
        "locale (LC_ALL=C.UTF-8), then run the same command again"
    )


def csv_cell(value: object) -> object:
    """A cell that a spreadsheet reads as text: a formula gets an apostrophe before it.

    So does a formula after a semicolon or a bar, which separate cells in spreadsheets of other languages.

    >>> csv_cell("=1+1"), csv_cell("scan-1.png"), csv_cell(-1.5), csv_cell("a;=1+1;b")
    ("'=1+1", 'scan-1.png', -1.5, "a;'=1+1;b")
    """
    if not isinstance(value, str):
        return value
    return "".join(f"'{part}" if _is_formula(part) else part for part in CELL_ENDS.split(printable(value)))


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet reads it as a formula, also with wide letters and leading blanks."""
    return unicodedata.normalize("NFKC", text).lstrip().startswith(FORMULA_STARTS)


def markdown_text(value: object) -> str:
    r"""Text with Markdown's special characters escaped: it holds no heading, link, HTML or cell border.

    >>> markdown_text("a_b|<b>")
    'a\\_b\\|\\<b\\>'
    """
    return MARKDOWN.sub(r"\\\g<0>", printable(value))
