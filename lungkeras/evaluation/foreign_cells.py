"""Opens a user's table and reads its cells: probabilities and labels. Errors name the cell."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.label_tables import VALUES
from lungkeras.datasets.listed_files import stem
from lungkeras.datasets.lists import BrokenListError, separator_of
from lungkeras.datasets.user_tables import open_table
from lungkeras.evaluation.foreign_columns import Columns, key, understand
from lungkeras.system.errors import TableError
from lungkeras.system.text import printable
from lungkeras.system.untrusted import table_files

BLANK = -2  # a missing label; -1 is an uncertain one
WORDS = {word: BLANK if value != value else int(value) for word, value in VALUES.items()}
UNKNOWN = ("", "nan", "na", "n/a", "none", "null", "unknown", "u")
ROUNDING = 1e-6  # by which a probability in single precision may leave 0 to 1
LONGEST = 60  # characters of a name that is shown


@dataclass(frozen=True)
class Table:
    """One file, read: its name without folders, its rows, and what its columns mean."""

    name: str
    frame: pd.DataFrame
    columns: Columns
    in_lines: bool = True  # rows are lines of a text file

    def row(self, place: int) -> str:
        return f"row {place + 1}" + (f" (line {place + 2} of the file)" if self.in_lines else "")


def read_table(file: Path | str, content: pd.DataFrame | None = None) -> Table:
    """Reads a CSV, TSV, xlsx or Parquet file, or its `content` if given. Raises TableError if it can't be read."""
    file = Path(file)
    if content is not None:
        return Table(file.name, content, understand(content.columns), in_lines=False)
    if file.is_dir() and (file / "predictions.parquet").is_file():
        file = file / "predictions.parquet"
    if file.is_dir():
        raise TableError(f"{file} is a folder: give a table, or a run's folder with predictions.parquet")
    suffix = file.suffix.lower()
    try:
        frame = open_table(file, lambda text: _parsed(text, "\t" if suffix == ".tsv" else None)).replace("", np.nan)
    except BrokenListError as error:
        raise TableError(f"{file} can't be read as a CSV, TSV, xlsx or Parquet table: {error}") from error
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1).reset_index(drop=True)
    if twice := next((name for name in frame.columns if list(frame.columns).count(name) > 1), None):
        raise TableError(f"{file}: the column {twice!r} occurs twice: remove or rename one")
    if frame.empty:
        raise TableError(f"{file} has no row below its header: expected one row per scan")
    columns = understand(frame.columns)
    if columns.alike:
        one, other = (printable(name)[:LONGEST] for name in columns.alike)
        raise TableError(f"{file}: the columns {one!r} and {other!r} mean the same: remove or rename one")
    named = f"{file.parent.name}/{file.name}" if file.name == "predictions.parquet" else file.name
    return Table(named, frame, columns, in_lines=suffix not in (*table_files.PARQUET, *table_files.SPREADSHEETS))


def _parsed(text: str, separator: str | None) -> pd.DataFrame:
    heading = text.partition("\n")[0]
    separator = separator or separator_of(heading)
    roles = set(understand([name.strip('"') for name in heading.split(separator)]).roles.values())
    as_text = dict.fromkeys(roles, str)
    options = {"sep": separator, "index_col": False, "keep_default_na": False}
    return table_files.parse_csv(text, dtype=as_text, na_values=[""], low_memory=False, **options)


def probability_cells(table: Table, column: str) -> np.ndarray:
    """The probabilities of a column, from 0 to 1: float64 (rows,); a text may have a decimal comma."""
    cells = table.frame[column]
    numbers = cells
    if not pd.api.types.is_numeric_dtype(cells):
        numbers = texts(cells).str.replace(r"^(-?\d*),(\d+)$", r"\1.\2", regex=True)
    given = pd.to_numeric(numbers, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~((given >= -ROUNDING) & (given <= 1 + ROUNDING)))
    if len(wrong):
        raise TableError(
            f"{table.name}: column {printable(column)!r}, {table.row(wrong[0])}: expected a probability from 0 to 1, "
            f"found {_cell(cells.iloc[wrong[0]])}{more(len(wrong) - 1, 'cell')}{_advice(cells, given)}"
        )
    return np.clip(given, 0, 1)


def _advice(cells: pd.Series, given: np.ndarray) -> str:
    finite = given[np.isfinite(given)]
    if not len(finite) and texts(cells).str.endswith("%").mean() > 0.5:
        return ": if these are percentages, divide them by 100"
    if len(finite) and finite.min() < 0:
        return ": if these are logits, give their sigmoid or softmax"
    if len(finite) and 1 < finite.max() <= 100 and np.mean(finite > 1) > 0.1:
        return ": if these are percentages, divide them by 100"
    return ": correct or remove the row"


def label_cells(table: Table, column: str) -> np.ndarray:
    """1, 0, -1 or BLANK, int8 (rows,)."""
    cells = table.frame[column]
    if pd.api.types.is_numeric_dtype(cells):
        values = cells.to_numpy(np.float64, na_value=np.nan)
        found = np.where(np.isnan(values), BLANK, np.where(np.isin(values, (-1, 0, 1)), values, np.nan))
    else:
        found = texts(cells).str.casefold().map(WORDS).to_numpy(np.float64)
    if len(wrong := np.flatnonzero(np.isnan(found))):
        raise TableError(
            f"{table.name}: column {printable(column)!r}, {table.row(wrong[0])}: expected a label of 1, 0, -1 "
            f"(uncertain) or blank, found {_cell(cells.iloc[wrong[0]])}{more(len(wrong) - 1, 'cell')}: correct or "
            "remove the row"
        )
    return found.astype(np.int8)


def may_be_labels(cells: pd.Series) -> bool:
    """Whether most cells of a column may be labels."""
    if pd.api.types.is_numeric_dtype(cells):
        return bool((cells.isna() | cells.isin((-1, 0, 1))).mean() > 0.5)
    return bool(texts(cells).str.casefold().isin(WORDS).mean() > 0.5)


def texts(cells: pd.Series) -> pd.Series:
    return cells.astype(object).where(cells.notna(), "").astype(str).str.strip()


def named_labels(table: Table, column: str, classes: Mapping[str, str]) -> tuple[np.ndarray, dict[str, int]]:
    """(labels of a column whose cells name classes, one or several ("Mass|Nodule"), {other name: its rows})."""
    codes, levels = pd.factorize(texts(table.frame[column]).str.replace(r"\.0$", "", regex=True))
    asked, rows = list(classes), np.zeros((len(levels), len(classes)), dtype=np.int8)
    others, times = Counter(), np.bincount(codes, minlength=len(levels))
    for place, text in enumerate(levels):
        for part in [text] if key(text) in classes else re.split(r"[|;,]", text):
            if key(part) in classes:
                rows[place, asked.index(key(part))] = 1
            elif part.strip():
                others[part.strip()] += int(times[place])
        if not text.strip():
            rows[place] = BLANK
    if not (rows == 1).any():
        raise TableError(
            f"{table.name}: column {printable(column)!r} names none of the classes {first_of(classes.values())}: found "
            f"{first_of(levels)}"
        )
    return rows[codes], others


def base(name: object) -> str:
    return str(name).replace("\\", "/").rpartition("/")[2]


def base_stem(name: object) -> str:
    return stem(base(name))


def numbered(name: object) -> str:
    """`base_stem` without case, and of a number without leading zeros, which spreadsheets drop."""
    short = base_stem(name).casefold()
    return short.lstrip("0") or "0" if short.isdigit() else short


def _cell(value: object) -> str:
    text = printable(value)[:60]
    return "a blank" if pd.isna(value) or not text.strip() else repr(text) if isinstance(value, str) else text


def more(number: int, what: str) -> str:
    return f" (and {number:,} more {what}{'s' * (number > 1)})" if number > 0 else ""


def listed(frame: pd.DataFrame) -> str:
    return first_of(frame.columns)


def first_of(names: Iterable, most: int = 8) -> str:
    names = [printable(name)[:LONGEST] for name in names]
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
