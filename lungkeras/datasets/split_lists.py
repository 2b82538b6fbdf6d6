"""A published split, as lists: which scan is on which side.

    train.txt, test_list.txt            one file per side, named after it; one scan per line, labels may follow
    train.csv, valid.csv                one table per side, with a column of scans
    split.csv                           a table of all sides, with a column of scans and one of sides
    chest_xray/train, chest_xray/test   one folder per side, with its files

Columns are found by name (COLUMNS), and a column of patients is read if present.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.folders import IMAGE_SUFFIXES, file_paths
from lungkeras.datasets.listed_files import stem
from lungkeras.datasets.lists import BrokenListError, letters_of, separator_of
from lungkeras.datasets.own_names import ids_of
from lungkeras.datasets.user_tables import as_texts, open_table
from lungkeras.system.errors import SourceError
from lungkeras.system.text import printable
from lungkeras.system.untrusted import table_files

if TYPE_CHECKING:
    import pandas as pd

# Names of columns, without case and punctuation, the most specific first.
COLUMNS = {
    "scan": (
        *("scan", "path", "imagepath", "filepath", "fpath", "image", "imageindex", "imageid", "imagename", "filename"),
        *("fname", "file", "dicomid", "sopinstanceuid", "uid", "id", "name"),
    ),
    "side": ("split", "side", "set", "subset", "partition", "fold", "phase"),
    "patient": ("patient", "patientid", "deidpatientid", "subject", "subjectid", "subjid", "pid"),
}
NO_SIDE = frozenset({"", "excluded", "nan", "none", "unused"})
AROUND = re.compile(r"[_-](list|lists|files|images|ids|names|split|set)$", re.IGNORECASE)
WITH_SUFFIX = re.compile(
    rf"(.+?(?:{'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES, key=len, reverse=True)))}))(?=[\s,;]|$)", re.IGNORECASE
)
LABELS = frozenset({"0", "1", "-1", "0.0", "1.0", "-1.0"})  # behind a name, as many as there are findings


def read_sides(files: Sequence[Path | str]) -> pd.DataFrame:
    """The scans of a split, one row each, in order: scan (as listed), side, patient (text, or NaN if unknown).

    attrs["no_side"] is the number of rows without a side. Raises SourceError if a file can't be read, has no column of
    scans, or all scans are on one side.
    """
    import pandas as pd

    names = side_names(files)
    parts = [_read(Path(file), name) for file, name in zip(files, names, strict=True)]
    found = pd.concat(parts, ignore_index=True).astype(object)  # of texts: quicker to look through one by one
    found["scan"] = found["scan"].str.strip().str.replace("\\", "/").str.removeprefix("./")
    found = found[found["scan"] != ""]
    found["side"] = _spelled_once(found["side"].str.strip())
    found["patient"] = ids_of(found["patient"].astype("str").where(found["patient"].notna())).replace("", None)
    kept = found[~found["side"].str.casefold().isin(NO_SIDE)].reset_index(drop=True)
    if kept["side"].nunique() < 2:
        there = ", ".join(map(printable, kept["side"].unique())) or "none"
        columns = ", ".join(COLUMNS["side"])
        raise SourceError(
            f"expected two sides of a split or more, found {there} in {', '.join(str(file) for file in files)}: give a "
            f"list for each side, or a table with a column of sides ({columns})"
        )
    kept.attrs["no_side"] = len(found) - len(kept)
    return kept


def _spelled_once(sides: pd.Series) -> pd.Series:
    """The sides, each as it is spelled first: Train is train."""
    first: dict[str, str] = {}
    return sides.map({side: first.setdefault(side.casefold(), side) for side in sides.dropna().unique()})


def side_names(files: Sequence[Path | str]) -> list[str]:
    """The names of the sides, from file names; two of one name get their folders as well. Raises SourceError.

    >>> side_names(["nih/train_val_list.txt", "nih/test_list.txt"])
    ['train_val', 'test']
    """
    paths = [Path(file) for file in files]
    names = [AROUND.sub("", path.stem if path.suffix else path.name) for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.resolve().parent.name}/{name}" for path, name in zip(paths, names, strict=True)]
    if len(set(names)) < len(names):
        raise SourceError(f"expected a file for each side, found two called {max(names, key=names.count)}: rename one")
    return names


def _read(file: Path, side: str) -> pd.DataFrame:
    import pandas as pd

    if file.is_dir():
        scans = [path for path in file_paths(file) if path.lower().endswith(IMAGE_SUFFIXES)]
        return pd.DataFrame({"scan": scans, "side": side, "patient": None}, dtype="str")
    try:
        table = as_texts(open_table(file, _parsed))
    except BrokenListError as error:
        raise SourceError(f"{file} can't be read: {error}. Give lists of scans as text, CSV, xlsx or parquet") from None
    return _of_table(file, table, side)


def _parsed(text: str) -> pd.DataFrame:
    """The rows of a table, by the names in its heading; without such names, every line as a scan."""
    import pandas as pd

    heading = text.partition("\n")[0]
    separator = separator_of(heading)
    if {letters_of(column) for column in heading.split(separator)} & {*itertools.chain(*COLUMNS.values())}:
        # Chosen columns: a separator at the end of each row is then no column, and no warning.
        options = {"dtype": "str", "keep_default_na": False, "index_col": False, "usecols": lambda name: True}
        return table_files.parse_csv(text, sep=separator, **options)
    return pd.DataFrame({"scan": [scan_of(line) for line in text.split("\n")]}, dtype="str")


def _of_table(file: Path, table: pd.DataFrame, side: str) -> pd.DataFrame:
    """The columns that are read, of a table. Raises SourceError."""
    import pandas as pd

    plain = {letters_of(str(column)): column for column in reversed(list(table))}
    found = {kind: next((plain[name] for name in names if name in plain), None) for kind, names in COLUMNS.items()}
    if found["scan"] is None:  # as of RSNA, whose patientId is that of a scan
        found["scan"], found["patient"] = found["patient"], None
    if found["scan"] is None:
        there = printable(", ".join(map(str, table))[:200])
        raise SourceError(f"{file}: expected a column of scans ({', '.join(COLUMNS['scan'])}), found {there}: name one")
    sides = table[found["side"]] if found["side"] is not None else side
    patients = table[found["patient"]].str.strip().replace("", None) if found["patient"] is not None else None
    return pd.DataFrame({"scan": table[found["scan"]], "side": sides, "patient": patients}, dtype="str")


def scan_of(line: str) -> str:
    """The scan that a line of a list names; labels may follow it.

    >>> scan_of("00000013_005.png 0 1 0"), scan_of("COVID-19 (1).png"), scan_of("00000013_005,1,0")
    ('00000013_005.png', 'COVID-19 (1).png', '00000013_005')
    """
    line = line.strip().strip('"')
    if named := WITH_SUFFIX.match(line):
        return named[1]
    first, *others = re.split(r"[\s,;]+", line)
    return first if len(others) > 1 and LABELS.issuperset(others) else line


def ends(name: str) -> list[str]:
    """A scan's name or path without its suffix, then without its first folder, and so on.

    >>> ends("a/b/c.png")
    ['a/b/c', 'b/c', 'c']
    """
    parts = name.replace("\\", "/").split("/")
    parts[-1] = stem(parts[-1])
    return ["/".join(parts[place:]) for place in range(len(parts))]


def look_up(known: Mapping[str, str | None], name: str) -> str | None:
    """The value for a scan by its longest known ending (`ends`), else None: lists may have other folders.

    >>> look_up({"images/a": "patient 1", "a": None}, "archive/images/a.png")
    'patient 1'
    """
    return next((known[end] for end in ends(name) if known.get(end)), None)
