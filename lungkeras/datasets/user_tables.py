"""Opens a user's table by its suffix: a spreadsheet, a Parquet file, or a text (CSV, TSV), which may be gzipped."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.lists import SEPARATORS, BrokenListError, list_text
from lungkeras.system.untrusted import table_files
from lungkeras.system.untrusted.plain_files import size_of

if TYPE_CHECKING:
    import pandas as pd


def open_table(file: Path, parse: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """The rows of a table, within the bounds of lungkeras.system.untrusted.table_files.

    Cells of a spreadsheet are texts, "" if empty; those of a Parquet file have the types it gives them. Of any other
    file `parse` makes the rows, from its text without a title above the heading. Raises BrokenListError, in a few
    words, if the file can't be read.
    """
    suffix = file.suffix.lower()
    try:
        if suffix in table_files.SPREADSHEETS:
            return table_files.read_xlsx(file)
        if suffix in table_files.PARQUET:
            return table_files.read_parquet(file)
        size_of(file)
        return parse(without_title(list_text(file, own=True)))
    except OSError as error:
        raise BrokenListError(error.strerror or str(error)) from None
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BrokenListError((str(error).splitlines() or [type(error).__name__])[0]) from None


def as_texts(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose cells are texts, "" for those that are empty."""
    return table.astype("str").where(table.notna(), "")


def without_title(text: str) -> str:
    """The text of a table from its heading on, without a title, a comment or blank lines above it."""
    *lines, _ = [*text.split("\n", table_files.MOST_TITLE), ""][: table_files.MOST_TITLE + 1]
    if any(line.count('"') % 2 for line in lines):  # a quoted cell of several lines
        return text
    separator = max(SEPARATORS, key=lambda sign: max(line.count(sign) for line in lines))
    filled = [sum(bool(cell.strip(' "')) for cell in line.split(separator)) for line in lines]
    return text.split("\n", title)[-1] if (title := table_files.rows_of_title(filled)) else text
