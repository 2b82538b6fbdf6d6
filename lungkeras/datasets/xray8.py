"""The xray8 dataset: NIH ChestX-ray8, today ChestX-ray14 (112,120 scans), six findings and no_finding.

    Data_Entry_2017.csv                    Image Index, Finding Labels (Mass|Nodule), Patient ID, ... as it is published
    images/00000001_000.png                anywhere below the source: images_001/images/ and so on as well

The study removes findings until those left are not highly imbalanced (`balanced_findings`), keeps the scans whose
findings are all among those left, and draws one normal scan a patient, then 7,000 of these. The choice of findings is
a fact of the whole list: a part of it, or a drawn source, is read with the same seven classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.folders import folders_under, image_paths
from lungkeras.datasets.records import ABSENT, leave_out
from lungkeras.errors import SourceError
from lungkeras.files import glance

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
    return file.read_text(encoding="utf-8").split()


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the list in `found`; `seed` draws the normals.

    With `require_files`, absent scans are left out before anything is drawn, so that a partial download keeps what it
    has; without, the selection is that of the whole list, and the path of an absent scan is where it would lie.

    Raises SourceError where the list can't be read as published.
    """
    entries = read_entries(found[0])
    images = (found[0].parent / "images").relative_to(source).as_posix()
    paths = image_paths(source)
    as_dicom = entries["scan"].str.replace(r"\.png$", ".dcm", regex=True)
    entries["path"] = entries["scan"].map(paths).fillna(as_dicom.map(paths))
    if require_files:
        entries = leave_out(entries, entries["path"].isna(), ABSENT)
    entries["path"] = entries["path"].fillna(images + "/" + entries["scan"])
    entries = _keep_findings(entries)
    return _draw_normals(entries, seed)


def read_entries(file: Path) -> pd.DataFrame:
    """The list as published, under the names of the records: every scan, with its findings in the column `label`."""
    import pandas as pd

    try:
        entries = pd.read_csv(file, usecols=lambda column: column in COLUMNS, dtype={"Patient ID": "str"})
    except (ValueError, OSError) as error:
        raise _unreadable(file, f"{type(error).__name__}: {error}".splitlines()[0]) from None
    entries = entries.rename(columns=COLUMNS)
    missing = [column for column, name in COLUMNS.items() if name in NEEDED and name not in entries]
    if missing:
        raise _unreadable(file, f"no column {', '.join(missing)}")
    entries["patient"] = entries["patient"].str.zfill(8)
    if "age" in entries:
        entries["age"] = _years(entries["age"])
    entries.attrs["flow"] = [["found", len(entries)]]
    return entries


def _unreadable(file: Path, found: str) -> SourceError:
    return SourceError(
        f"xray8: {file} is not as published. Expected a CSV with the columns Image Index, Finding Labels, Patient ID; "
        f"found {found}. Fetch it anew, or draw a source: lungkeras phantom xray8 --to DIR"
    )


def _years(ages: pd.Series) -> pd.Series:
    """Whole years; an early release writes 058Y."""
    years = ages.astype("str").str.extract(r"(\d+)", expand=False).astype("Int64")
    return years if years.hasnans else years.astype("int64")


def _keep_findings(entries: pd.DataFrame) -> pd.DataFrame:
    findings = entries["label"].str.get_dummies("|").astype("int64")
    known = findings.reindex(columns=list(LABELS), fill_value=0)
    other = (known.sum(axis=1) == 0) | (known.sum(axis=1) < findings.sum(axis=1))
    entries = entries.assign(**{name: known[label] for name, label in zip(CLASSES, LABELS, strict=True)})
    return leave_out(entries, other, "findings outside the study's six")


def _draw_normals(entries: pd.DataFrame, seed: int) -> pd.DataFrame:
    # Any scan of a patient may be drawn: the first would mark the normals by their follow-up number. The second draw is
    # of its own, as patients of many scans come first in the order of the first.
    normals = entries[entries["no_finding"] == 1].sample(frac=1, random_state=seed)
    one_each = normals.drop_duplicates("patient").sort_index()
    further = (entries["no_finding"] == 1) & ~entries.index.isin(one_each.index)
    entries = leave_out(entries, further, "further normal scans of a patient")
    drawn = one_each.sample(min(NORMAL_SCANS, len(one_each)), random_state=seed)
    beyond = (entries["no_finding"] == 1) & ~entries.index.isin(drawn.index)
    return leave_out(entries, beyond, f"normal scans beyond {NORMAL_SCANS:,}")
