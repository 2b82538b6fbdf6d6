"""The pneumonia dataset: children of one to five years, three classes (Kermany, Zhang, Goldbaum 2018).

    chest_xray/<train|val|test>/NORMAL/IM-0115-0001.jpeg, NORMAL2-IM-1350-0001.jpeg     normal
    chest_xray/<train|val|test>/PNEUMONIA/person7_bacteria_24.jpeg                      bacterial_pneumonia
    chest_xray/<train|val|test>/PNEUMONIA/person14_virus_44.jpeg                        viral_pneumonia

and with the names of a later release: NORMAL-1003233-0001.jpeg, BACTERIA-1008087-0001.jpeg, VIRUS-1000138-0001.jpeg.
The published folders are read as one pool: the study draws its own 70:15:15, by patient. The patient is the number in
the name, whatever the folder and the cause: numbers restart between the published folders, so a group may merge two
patients but never splits one (person14 has a bacterial scan in train and a viral one in test).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.entry import Dataset, Names, Phantom
from lungkeras.datasets.folders import files_in, folders_under, subfolders
from lungkeras.datasets.plans import Scan, counts_of, scans_of_patients
from lungkeras.datasets.records import count_other_files, in_folders, leave_out, named, one_hot, tabulate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CLASSES = ("bacterial_pneumonia", "viral_pneumonia", "normal")

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
    """Records of the collection in `found`. Every scan is a file here; `seed` has no effect."""
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
    """What the class folder and the file name say; None, None if the name has no published form.

    The label of an unknown cause is its name.

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


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    causes = dict(zip(("bacteria", "virus", "normal"), counts_of(scans, (0.36, 0.32, 0.32)), strict=True))
    patients = [(cause, size) for cause, count in causes.items() for size in scans_of_patients(count, rng, shares)]
    planned, of_cause = [], dict.fromkeys(causes, 0)
    for number, index in enumerate(rng.permutation(len(patients)), start=1):
        cause, size = patients[index]
        folder = "chest_xray/" + str(rng.choice(["train", "val", "test"], p=[0.86, 0.02, 0.12]))
        for scan in range(size):
            of_cause[cause] += 1
            if cause == "normal":
                series = f"-{scan + 1:04}" if size > 1 else ""
                name = f"NORMAL/{'NORMAL2-' if number % 2 else ''}IM-{number:04}-0001{series}"
            else:
                name = f"PNEUMONIA/person{number}_{cause}_{of_cause[cause]}"
            finding = {"bacteria": "bacterial_pneumonia", "virus": "viral_pneumonia"}.get(cause, cause)
            planned.append(Scan(f"{folder}/{name}.jpeg", (finding,), number, scan))
    return planned


DATASET = Dataset(
    name="pneumonia",
    title="Chest X-ray pneumonia, children of one to five years (Guangzhou)",
    task="multiclass",
    classes=CLASSES,
    clear="normal",
    image_size=224,
    handle="tolgadincer/labeled-chest-xray-images",
    citation="Kermany, Zhang, Goldbaum 2018, Mendeley Data, doi:10.17632/rscbjbr9sj; CC BY 4.0",
    layout=(
        "chest_xray/<train|val|test>/<NORMAL|PNEUMONIA>/*.jpeg, named as IM-0115-0001.jpeg and "
        "person7_bacteria_24.jpeg are"
    ),
    holds="chest_xray/",
    find=find,
    read=read,
    phantom=Phantom(plan, scans=640, child=True, stream=1),
    names=Names(
        r"(?i:(?:^|/)(?:(person\d+)_[a-z]|((?:NORMAL2-)?IM-\d+)|(?:NORMAL|BACTERIA|VIRUS)-(\d+)))",
        "Numbers restart between the published folders, so one number in two of them may be two children.",
    ),
    releases=({"NORMAL": 1583, "PNEUMONIA": 4273},),
    datasheet={
        "who made it, and why": (
            "Kermany et al. 2018 (Cell 172, doi 10.1016/j.cell.2018.02.010), to show that a network trained on "
            "retinal scans learns another kind of image."
        ),
        "whose scans, from where": (
            "Children of one to five years, of one hospital: Guangzhou Women and Children's Medical Center."
        ),
        "when": "Not published for each scan.",
        "how the scans were taken": (
            "Anterior-posterior, as a part of routine care; poor and unreadable ones were removed. JPEG of many sizes."
        ),
        "the reference standard": (
            "Two physicians graded the diagnoses; a third checked the published test folder. Bacterial or viral "
            "stands in the file name."
        ),
        "recorded for each scan": "Class and patient, by file name; numbers start again between the published folders.",
        "known faults": (
            "Several scans of a patient; the published folders share patients' numbers; classes differ in size. "
            "Children only."
        ),
        "what the study uses": "All scans, in three classes; the published folders are pooled and split again.",
        "terms": "CC BY 4.0 (Mendeley Data, doi 10.17632/rscbjbr9sj).",
    },
)
