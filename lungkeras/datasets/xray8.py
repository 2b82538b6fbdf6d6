"""The xray8 dataset: NIH ChestX-ray8, today ChestX-ray14 (112,120 scans), six findings and no_finding.

    Data_Entry_2017.csv                    Image Index, Finding Labels (Mass|Nodule), Patient ID, ... as it is published
    images/00000001_000.png                anywhere below the source: images_001/images/ and so on as well

The study removes findings until those left are not highly imbalanced (`balanced_findings`), keeps the scans whose
findings are all among those left, and draws one normal scan a patient, then 7,000 of these. The choice of findings is
a fact of the whole list: a part of it, or a drawn source, is read with the same seven classes.
"""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.folders import file_paths, folders_under, no_image
from lungkeras.datasets.records import ABSENT, leave_out
from lungkeras.errors import SourceError
from lungkeras.files import glance
from lungkeras.inert import printable, say
from lungkeras.safe_tables import check_csv

if TYPE_CHECKING:
    import pandas as pd

CLASSES = ("atelectasis", "effusion", "mass", "nodule", "pneumothorax", "consolidation", "no_finding")
LAYOUT = "Data_Entry_2017.csv with the scans that it lists, in images/*.png"
HOLDS = "Data_Entry_2017.csv"
CITATION = "Wang et al. 2017, doi:10.1109/CVPR.2017.369, and the NIH Clinical Center; free use with attribution"

LISTS = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
TEST_LIST = "test_list.txt"
NEEDED = ("scan", "label", "patient")
LABELS = tuple("No Finding" if name == "no_finding" else name.capitalize() for name in CLASSES)
COLUMNS = {
    "Image Index": "scan",
    "Finding Labels": "label",
    "Patient ID": "patient",
    "Patient Age": "age",
    "Patient Gender": "sex",
    "Patient Sex": "sex",
    "View Position": "view",
    "Follow-up #": "follow_up",
}
OLDEST = 120  # years
NORMAL_SCANS = 7000
HIGHLY_IMBALANCED = 3.0


def balanced_findings(counts: Mapping[str, int], *, reference: int = NORMAL_SCANS) -> list[str]:
    """The findings left when one after another is removed until none is more than three times as frequent as another.

    Removed is always the finding whose count (scans that show it, alone or among others) is by ratio furthest from
    `reference`, the number of normal scans drawn. The study does not print its rule. On the list of 2017 this one ends
    in the study's six, with any bound from 2.9 to 3.9; measured from the median of those left it would not.

    >>> balanced_findings({"Effusion": 13317, "Hernia": 227, "Infiltration": 19894, "Mass": 5782})
    ['Effusion', 'Mass']
    """
    left = {finding: count for finding, count in counts.items() if count > 0}
    while left and max(left.values()) > HIGHLY_IMBALANCED * min(left.values()):
        del left[max(left, key=lambda finding: abs(math.log(left[finding] / reference)))]
    return list(left)


def find(source: Path) -> list[Path]:
    """The list of entries, as a list of one; that of 2017, which the study read, before its later revision."""
    for folder in folders_under(source):
        for name in LISTS:
            if (folder / name).is_file():
                return [folder / name]
    return []


def official_test_scans(source: Path | str) -> list[str]:
    """The scans of test_list.txt, which the collection's authors set apart by patient.

    Raises SourceError where the list does not lie beside the list of entries.
    """
    found = find(Path(source))
    file = (found[0].parent if found else Path(source)) / TEST_LIST
    if not file.is_file():
        raise SourceError(
            f"xray8: `split: official` needs {TEST_LIST} beside {HOLDS}; {file.parent} holds {glance(file.parent)}. "
            f"Fetch it with the collection, or leave out `split: official`"
        )
    return file.read_text(encoding="utf-8-sig").split()


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the list in `found`; `seed` draws the normals.

    With `require_files`, absent scans are left out before anything is drawn, so that a partial download keeps what it
    has; without, the selection is that of the whole list, and the path of an absent scan is where it would lie.

    Raises SourceError where the list can't be read as published.
    """
    entries = read_entries(found[0])
    images = (found[0].parent / "images").relative_to(source).as_posix()
    paths = file_paths(source)
    entries["path"] = entries["scan"].map(paths)
    if entries["path"].isna().any():
        entries["path"] = entries["path"].fillna(_by_stem(source, entries["scan"], paths))
    if require_files:
        _say_what_is_not_listed(source, entries, paths)
        entries = leave_out(entries, entries["path"].isna(), ABSENT, kind="absent")
    entries["path"] = entries["path"].fillna(images + "/" + entries["scan"])
    entries = _keep_findings(entries)
    return _draw_normals(entries, seed)


def _by_stem(source: Path, scans: pd.Series, paths: dict[str, str]) -> pd.Series:
    """Where the scans lie under another suffix, or none; a file of a strange suffix is looked into."""
    wanted = {_stem(scan) for scan in scans}
    there: dict[str, str] = {}
    for name, path in paths.items():
        if _stem(name) in wanted and no_image(source / path) is None:
            there.setdefault(_stem(name), path)
    return scans.map(_stem).map(there)


def _stem(name: str) -> str:
    """The name without its suffix, where that is one: ids may hold dots.

    >>> _stem("00000001_000.PNG"), _stem("1.2.840")
    ('00000001_000', '1.2.840')
    """
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and suffix[:1].isalpha() else name


def _say_what_is_not_listed(source: Path, entries: pd.DataFrame, paths: dict[str, str]) -> None:
    """Counts the images without a row on stderr. Raises SourceError where no name of the list is that of a file."""
    listed = set(entries["path"].dropna())
    others = [path for path in paths.values() if path not in listed and no_image(source / path) is None]
    if not listed and len(entries) and others:
        raise SourceError(
            f"xray8: {HOLDS} lists {len(entries):,} scans such as {printable(entries['scan'].iloc[0])}, and "
            f"{len(others):,} images lie in {source}, such as {printable(others[0])}: none has the name of another; "
            "name the files as the list does"
        )
    if others:
        say(
            f"xray8: {len(others):,} images in {source} have no row in the list, such as {printable(others[0])}",
            file=sys.stderr,
        )


def read_entries(file: Path) -> pd.DataFrame:
    """The list as published, under the names of the records: every scan, with its findings in the column `label`.

    Names of columns count without case and blanks; the separator is that of the heading (comma, semicolon or tab). A
    row without a patient, or with one in a spreadsheet's number format (1.23E+05), which has lost digits, stands alone.

    Raises SourceError where the list can't be read, naming the row where one is broken.
    """
    import pandas as pd

    text = _text(file)
    heading, *rows = text.splitlines() or [""]
    separator = max(",;\t", key=heading.count)
    if not text.endswith("\n") and rows and rows[-1].count(separator) < rows[0].count(separator):
        raise _unreadable(file, f"its last row cut short ({rows[-1][:60]!r})")
    named = {_plain(column): name for column, name in COLUMNS.items()}
    try:
        entries = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            usecols=lambda column: _plain(column) in named,
            dtype="str",
            keep_default_na=False,
            skipinitialspace=True,
        )
    except ValueError as error:
        raise _unreadable(file, f"{type(error).__name__}: {error}".splitlines()[0]) from None
    entries = entries.rename(columns=lambda column: named[_plain(column)])
    missing = [column for column, name in COLUMNS.items() if name in NEEDED and name not in entries]
    if missing:
        raise _unreadable(file, f"no column {', '.join(missing)} in {printable(heading[:200])!r}")
    for name in entries:
        entries[name] = entries[name].str.strip()
    entries["label"] = entries["label"].str.replace(r"\s*\|\s*", "|", regex=True)
    entries["patient"] = _patients(file, entries)
    if "age" in entries:
        entries["age"] = _years(file, entries["age"])
    if "follow_up" in entries:
        entries["follow_up"] = pd.to_numeric(entries["follow_up"], errors="coerce").astype("Int64")
        if not entries["follow_up"].hasnans:
            entries["follow_up"] = entries["follow_up"].astype("int64")
    entries.attrs["flow"] = [["found", len(entries)]]
    return entries


def _plain(column: str) -> str:
    return "".join(column.split()).casefold()


def _text(file: Path) -> str:
    """The list's text. Raises SourceError where it is not UTF-8, or holds NUL bytes, naming the row."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error.strerror) from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _unreadable(file, "a text in UTF-16, expected UTF-8 (save it as CSV UTF-8)")
    try:
        check_csv(content, b",;\t")
    except ValueError as error:
        raise _unreadable(file, f"a list that is none: {error}") from None
    if b"\0" in content:
        raise _unreadable(file, f"NUL bytes in row {content[: content.index(0)].count(10) + 1}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(10) + 1
        raise _unreadable(file, f"a text in another encoding than UTF-8, likely cp1252 (row {row})") from None


def _patients(file: Path, entries: pd.DataFrame) -> pd.Series:
    """Patients as eight digits; who is unknown stands alone, under the scan's name, and is counted on stderr."""
    patients = entries["patient"].str.replace(r"\.0+$", "", regex=True)
    lost = patients.str.fullmatch(r"[\d.,]+[eE][+-]?\d+")
    absent = patients.str.casefold().isin(("", "nan", "na", "none", "null", "n/a"))
    if lost.any():
        first = entries[lost].iloc[0]
        say(
            f"xray8: {lost.sum()} patient ids of {file.name} have lost digits to a spreadsheet's number format, such "
            f"as {first['patient']} of {first['scan']}: each of these scans stands alone",
            file=sys.stderr,
        )
    if absent.any():
        first = entries.loc[absent, "scan"].iloc[0]
        say(
            f"xray8: {absent.sum()} rows of {file.name} name no patient, such as {first}: each stands alone",
            file=sys.stderr,
        )
    return patients.str.zfill(8).mask(lost | absent, entries["scan"])


def _unreadable(file: Path, found: str) -> SourceError:
    return SourceError(
        f"xray8: {file} is not as published. Expected a CSV with the columns Image Index, Finding Labels, Patient ID; "
        f"found {found}. Fetch it anew, or draw a source: lungkeras phantom xray8 --to DIR"
    )


def _years(file: Path, ages: pd.Series) -> pd.Series:
    """Whole years of 58, 058Y, 013M (months) or 021D (days); what is no age of a person is unknown, and counted."""
    parts = ages.str.extract(r"^(\d+)(?:\.0+)?\s*([YMWD]?)$", flags=re.IGNORECASE)
    per_year = parts[1].str.upper().map({"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}).astype("Int64")
    years = parts[0].astype("Int64") // per_year
    impossible = ((ages != "") & years.isna()) | (years > OLDEST).fillna(False)
    if impossible.any():
        say(
            f"xray8: {impossible.sum()} ages of {file.name} are none, such as {printable(ages[impossible].iloc[0])}: "
            "taken as unknown",
            file=sys.stderr,
        )
    years = years.mask(impossible)
    return years if years.hasnans else years.astype("int64")


def _keep_findings(entries: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    # A column for each of the study's findings alone: a list may name as many others as it has rows.
    found = [frozenset(label.split("|")) - {""} for label in entries["label"]]
    other = pd.Series([not each or not each <= frozenset(LABELS) for each in found], entries.index, dtype=bool)
    known = {name: [int(label in each) for each in found] for name, label in zip(CLASSES, LABELS, strict=True)}
    entries = entries.assign(**{name: pd.Series(of, entries.index, dtype="int64") for name, of in known.items()})
    return leave_out(entries, other, "findings outside the study's six")


def _draw_normals(entries: pd.DataFrame, seed: int) -> pd.DataFrame:
    # Any scan of a patient may be drawn: the first would mark the normals by their follow-up number. The second draw is
    # of its own, as patients of many scans come first in the order of the first.
    normals = entries[entries["no_finding"] == 1].sample(frac=1, random_state=seed)
    one_each = normals.drop_duplicates("patient").sort_index()
    further = (entries["no_finding"] == 1) & ~entries.index.isin(one_each.index)
    entries = leave_out(entries, further, "further normal scans of a patient", kind="normal")
    drawn = one_each.sample(min(NORMAL_SCANS, len(one_each)), random_state=seed)
    beyond = (entries["no_finding"] == 1) & ~entries.index.isin(drawn.index)
    return leave_out(entries, beyond, f"normal scans beyond {NORMAL_SCANS:,}", kind="normal")
