"""A table of labels in any of four kinds of file, as texts: CSV, TSV, xlsx, parquet.

Cells are interpreted in one place for all kinds of file: 1, 0, -1 (uncertain), blank.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.lists import BrokenListError, broken_row, separator_of
from lungkeras.datasets.user_tables import as_texts, open_table
from lungkeras.system.errors import SourceError, nearest
from lungkeras.system.text import printable
from lungkeras.system.untrusted import table_files

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")  # of the tables that are found without being named
BLANK = float("nan")
# What a cell may say of a class, without case.
VALUES = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "y", "positive", "pos", "present"), 1.0),
    **dict.fromkeys(("0", "0.0", "false", "no", "n", "negative", "neg", "absent"), 0.0),
    **dict.fromkeys(("-1", "-1.0", "uncertain", "equivocal"), -1.0),
    **dict.fromkeys(("", "nan", "na", "n/a", "<na>", "none", "null", "-"), BLANK),
}


def read_table(file: Path, columns: Collection[str] | None = None) -> pd.DataFrame:
    """The rows of a table, every cell a stripped text, "" if empty.

    `columns` are the columns to read, by default all. Raises SourceError, naming the file and the fault, if it can't be
    read or lacks one of them.
    """
    try:
        table = open_table(file, lambda text: _parsed(text, columns))
    except BrokenListError as error:
        raise _unreadable(file, str(error)) from None
    table.columns = [" ".join(str(name).split()) for name in table.columns]
    if twice := table.columns[table.columns.duplicated()].tolist():
        raise _unreadable(file, f"two columns called {printable(twice[0])!r}")
    for name in columns or ():
        require_column(file, list(table.columns), name)
    table = table[list(columns)] if columns else table
    return as_texts(table).apply(lambda column: _whole(column.str.strip()))


def _whole(column: pd.Series) -> pd.Series:
    """Whole numbers as 12, also where a program wrote 12.0, as it does for a column with blanks."""
    words = column.drop_duplicates()
    as_floats = words.str.fullmatch(r"-?\d+\.0")
    if not as_floats.any() or not (as_floats | (words == "")).all():
        return column
    return column.str.removesuffix(".0")


def require_column(file: Path, columns: list[str], name: str) -> None:
    """Raises SourceError if a table has no column of this name."""
    if name not in columns:
        shown = ", ".join(map(printable, columns[:20])) + (f" and {len(columns) - 20} more" if columns[20:] else "")
        raise SourceError(
            f"{file}: expected a column {printable(name)!r}{nearest(name, columns)}, found {shown}: name one of these"
        )


def _unreadable(file: Path, found: str) -> SourceError:
    return SourceError(
        f"{file}: expected a table of labels with a heading (CSV or TSV in UTF-8, xlsx, parquet), found {found}: "
        "save it again as CSV UTF-8"
    )


def _parsed(text: str, columns: Collection[str] | None) -> pd.DataFrame:
    heading = text.partition("\n")[0]
    if not heading.strip() or not text.partition("\n")[2].strip():
        raise BrokenListError("no row below its heading" if heading.strip() else "an empty file")
    separator = separator_of(heading)
    if flaw := broken_row(text, 0):
        raise BrokenListError(flaw)
    wanted = set(columns or ())
    return table_files.parse_csv(
        text,
        sep=separator,
        dtype="str",
        keep_default_na=False,
        skipinitialspace=True,
        index_col=False,
        usecols=lambda name: columns is None or " ".join(str(name).split()) in wanted,
    )


def label_values(column: pd.Series) -> tuple[pd.Series, pd.Series]:
    """(float64 of 1, 0, -1 and NaN; bool, true for cells with other content) from a column of texts."""
    words = column.drop_duplicates()
    known = {word: VALUES.get(word.casefold()) for word in words}
    values = column.map({word: BLANK if value is None else value for word, value in known.items()}).astype("float64")
    return values, column.isin([word for word, value in known.items() if value is None])


def holds_labels(column: pd.Series) -> bool:
    """Whether a column holds labels of a class: 1, 0, -1 or blank in words of VALUES, and not the same in every row."""
    words = {word.casefold() for word in column.drop_duplicates()[: len(VALUES) + 1]}
    if not words <= set(VALUES):
        return False
    known = {VALUES[word] for word in words if VALUES[word] == VALUES[word]}
    return 1.0 in known and len(words) > 1


def list_separator(column: pd.Series) -> str:
    """The separator of classes within a cell; "" if no cell lists several.

    A bar, a semicolon or a new line always separates; a comma only if its parts mostly occur elsewhere too: "Mass,
    right" is one class; and a slash, a plus or an ampersand if all of them are classes of other cells.
    """
    words = column.drop_duplicates().str.strip("[]")
    for separator in "|;\n":
        if words.str.contains(separator, regex=False).any():
            return separator
    for separator in ",/+&":
        cells = words[words.str.contains(separator, regex=False)]
        parts = cells.str.split(separator).explode().str.strip(" \t'\"")
        alone = parts.isin(set(words[~words.index.isin(cells.index)].str.strip(" \t'\"")))
        if len(cells) and (alone.all() if separator != "," else (alone | parts.duplicated(keep=False)).mean() > 0.5):
            return separator
    return ""
