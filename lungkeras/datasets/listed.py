"""Reads the published list of a collection by its column names."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.lists import BrokenListError, broken_row, list_text, separator_of
from lungkeras.system.errors import SourceError, nearest
from lungkeras.system.text import printable
from lungkeras.system.untrusted import table_files

if TYPE_CHECKING:
    import pandas as pd


def heading_of(file: Path) -> list[str]:
    """The names of a list's columns, plain; none if it can't be read."""
    try:
        heading = list_text(file).partition("\n")[0]
    except BrokenListError:
        return []
    return [plain(name) for name in heading.split(separator_of(heading))]


def plain(name: str) -> str:
    """
    >>> plain("Nodule/Mass "), plain("Image ID")
    ('nodule_mass', 'image_id')
    """
    return "_".join("".join(letter if letter.isalnum() else " " for letter in name.casefold()).split())


def read_list(
    dataset: str, file: Path, columns: Iterable[str], *, numbers: Iterable[str] = (), also: Iterable[str] = ()
) -> pd.DataFrame:
    """The columns of a list under their plain names: stripped texts, and `numbers` as float64, NaN if empty.

    Columns of `also` are optional; the first of `columns` is never empty. Raises SourceError for another file, naming
    what is missing, or the row and column of a cell that is not a number.
    """
    columns, numbers = list(columns), list(numbers)
    wanted, needed = {*columns, *numbers, *also}, [*columns, *numbers]
    try:
        text = list_text(file)
        heading = text.partition("\n")[0]
        names = {name: plain(name) for name in next(csv.reader([heading], delimiter=separator_of(heading)), [])}
        table = table_files.parse_csv(
            text,
            sep=separator_of(heading),
            usecols=lambda name: plain(name) in wanted,
            index_col=False,
            dtype={name: "str" for name, ours in names.items() if ours not in numbers},
            keep_default_na=False,
            na_values={name: [""] for name, ours in names.items() if ours in numbers},
            skipinitialspace=True,
        ).rename(columns=plain)
    except BrokenListError as error:
        raise _unreadable(dataset, file, needed, str(error)) from None
    except (ValueError, csv.Error) as error:
        raise _unreadable(dataset, file, needed, f"{type(error).__name__}: {error}".splitlines()[0]) from None
    if missing := [name for name in needed if name not in table]:
        found = f"no column {', '.join(missing)} in {printable(heading[:200])!r}{nearest(missing[0], names.values())}"
        raise _unreadable(dataset, file, needed, found)
    if table.columns.has_duplicates:
        raise _unreadable(dataset, file, needed, f"the column {table.columns[table.columns.duplicated()][0]} twice")
    last = max(place for place, name in enumerate(names.values()) if name in needed)
    if flaw := broken_row(text, last):
        raise _unreadable(dataset, file, needed, flaw)
    if table.empty:
        raise _unreadable(dataset, file, needed, "no row below its heading")
    table = table.apply(lambda column: column if column.name in numbers else column.str.strip())
    if nameless := int((table[columns[0]] == "").sum()):
        raise _unreadable(dataset, file, needed, f"{nameless:,} rows whose {columns[0]} is empty")
    for name in numbers:
        table[name], flaw = _as_numbers(table[name])
        if flaw:
            raise _unreadable(dataset, file, needed, flaw)
    return table


def _as_numbers(column: pd.Series) -> tuple[pd.Series, str | None]:
    """A column as float64, NaN if empty, and its first cell that is not a number, in words; None if all are."""
    import pandas as pd

    known = pd.to_numeric(column, errors="coerce")
    if not (strange := known.isna() & column.notna()).any():
        return known.astype("float64"), None
    row = int(strange.to_numpy().argmax())
    text = printable(repr(column.iloc[row])[:60])
    return known, f"{text} as {column.name} in row {row + 2}, which is not a number"


def _unreadable(dataset: str, file: Path, columns: list[str], found: str) -> SourceError:
    shown = f"{', '.join(columns[:6])}{' and further ones' if len(columns) > 6 else ''}"
    return SourceError(
        f"{dataset}: {file} is not as published. Expected a list with the columns {shown}; found {found}. Fetch it "
        f"again, or draw a source: lungkeras phantom {dataset} --to DIR"
    )
