"""The pneumonia dataset: children of one to five years, three classes (Kermany, Zhang, Goldbaum 2018).

    chest_xray/<train|val|test>/NORMAL/IM-0115-0001.jpeg, NORMAL2-IM-1350-0001.jpeg     normal
    chest_xray/<train|val|test>/PNEUMONIA/person7_bacteria_24.jpeg                      bacterial_pneumonia
    chest_xray/<train|val|test>/PNEUMONIA/person14_virus_44.jpeg                        viral_pneumonia

and with the names of a later release: NORMAL-1003233-0001.jpeg, BACTERIA-1008087-0001.jpeg, VIRUS-1000138-0001.jpeg.
The published folders are read as one pool: the study draws its own 70:15:15, by patient. The patient is the number in
the name, whatever the folder and the cause: numbers restart between the published folders, so a group may merge two
patients, but it never parts one (person14 has a bacterial scan in train and a viral one in test).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.folders import files_in, folders_under, subfolders
from lungkeras.datasets.records import count_other_files, in_folders, leave_out, named, one_hot, tabulate

if TYPE_CHECKING:
    import pandas as pd

CLASSES = ("bacterial_pneumonia", "viral_pneumonia", "normal")
LAYOUT = (
    "chest_xray/<train|val|test>/<NORMAL|PNEUMONIA>/*.jpeg, named as IM-0115-0001.jpeg and person7_bacteria_24.jpeg are"
)
HOLDS = "chest_xray/"
CITATION = "Kermany, Zhang, Goldbaum 2018, Mendeley Data, doi:10.17632/rscbjbr9sj; CC BY 4.0"

CLASS_OF_CAUSE = {"bacteria": "bacterial_pneumonia", "virus": "viral_pneumonia"}
SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
NAMES_IN_FOLDER = {
    "pneumonia": re.compile(
        r"(?P<patient>person\d+)_(?P<cause>[^\W\d_]+)_\d+"
        r"|(?P<later_cause>[^\W\d_]+)-(?P<later_patient>\d+)(?:-\d+)*",
        re.IGNORECASE,
    ),
    "normal": re.compile(
        r"(?P<patient>(?:NORMAL2-)?IM-\d+)(?:-\d+)*|NORMAL-(?P<later_patient>\d+)(?:-\d+)*", re.IGNORECASE
    ),
}


def find(source: Path) -> list[Path]:
    """The collection's folder, as a list of one; of copies within each other, the outermost."""
    return next(([folder] for folder in folders_under(source) if _class_folders(folder)), [])


def _class_folders(folder: Path) -> list[Path]:
    children = subfolders(folder)
    splits = [child for child in children if child.name.lower() in SPLIT_FOLDERS]
    pooled = [inner for split in splits for inner in subfolders(split) if inner.name.lower() in NAMES_IN_FOLDER]
    if pooled:
        return pooled
    own = [child for child in children if child.name.lower() in NAMES_IN_FOLDER]
    return own if len(own) == len(NAMES_IN_FOLDER) else []


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the collection in `found`. Every scan is a file here, and nothing is drawn: `seed` changes nothing."""
    class_folders = [folder for collection in found for folder in _class_folders(collection)]
    scans = [(file, *patient_and_label(file)) for folder in class_folders for file in files_in(folder)]
    records = tabulate(source, scans)
    records = leave_out(records, records["label"].isna(), "file name gives no patient and class")
    strange = ~records["label"].isin(CLASSES)
    if strange.any():
        causes = named(records.loc[strange, "label"].value_counts())
        records = leave_out(records, strange, f"unknown cause of pneumonia ({causes})", kind="unknown")
    read = [file.relative_to(source).as_posix() for file, *_ in scans]
    return one_hot(count_other_files(records, source, read, in_folders), CLASSES)


def patient_and_label(file: Path) -> tuple[str | None, str | None]:
    """What the class folder and the file's name say; None, None where the name is none of those published.

    Of a cause that is none of the collection's, the label is its name.

    >>> patient_and_label(Path("chest_xray/test/PNEUMONIA/person14_virus_44.jpeg"))
    ('person14', 'viral_pneumonia')
    >>> patient_and_label(Path("chest_xray/train/NORMAL/NORMAL2-IM-1350-0001.jpeg"))
    ('NORMAL2-IM-1350', 'normal')
    """
    name = NAMES_IN_FOLDER[file.parent.name.lower()].fullmatch(file.stem)
    if name is None:
        return None, None
    parts = name.groupdict()
    cause = parts.get("cause") or parts.get("later_cause")
    label = CLASS_OF_CAUSE.get(cause.lower(), cause) if cause else "normal"
    return parts["patient"] or parts["later_patient"], label
