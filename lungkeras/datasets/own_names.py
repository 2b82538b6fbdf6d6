"""Names of scans and patients as tables of one's own write them: numbers without zeros, or with lost digits."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from lungkeras.datasets.listed_files import FileIndex, places, stem

if TYPE_CHECKING:
    import pandas as pd

LOST_DIGITS = r"[\d.,]+[eE][+-]?\d+|#+"  # an id in a spreadsheet's number format, which several patients may share


def paths_of(names: pd.Series, index: FileIndex) -> pd.Series:
    """`places` of the scans as a table names them; 7 also finds 0007.png, as spreadsheets drop leading zeros."""
    found = places(names, index)
    numbers = names[found.isna()].str.extract(r"^0*(\d+)(?:\.0)?$", expand=False)
    if not numbers.notna().any():
        return found
    shorter = [(name.lstrip("0") or "0", path) for name, path in index.stems.items() if re.fullmatch("[0-9]+", name)]
    times = Counter(number for number, _ in shorter)
    return found.fillna(numbers.map({number: path for number, path in shorter if times[number] == 1}))


def shared_names(names: pd.Series, index: FileIndex) -> pd.Series:
    """Whether each name is that of several files, so that it names none: bool."""
    if names.empty:
        return names.astype(bool)
    files = [path.rpartition("/")[2] for path in index.paths]
    times, of_stems = Counter(files), Counter(map(stem, files))
    last = names.str.replace("\\", "/", regex=False).str.rpartition("/")[2]
    return (last.map(times) > 1) | (last.map(stem).map(of_stems) > 1)


def ids_of(patients: pd.Series) -> pd.Series:
    """Patients by their ids: 007 and 7.0 are 7 where it occurs; blank where a spreadsheet lost digits (1.23E+05)."""
    shorter = patients.str.replace(r"^0*(\d+?)(?:\.0)?$", r"\1", regex=True)
    patients = shorter if shorter.nunique() < patients.nunique() else patients
    return patients.mask(patients.str.fullmatch(LOST_DIGITS).fillna(False).astype(bool), "")
