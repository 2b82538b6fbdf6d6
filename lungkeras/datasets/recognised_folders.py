"""Recognises a folder for each class."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.class_names import clear_class, distinct, slugs
from lungkeras.datasets.folders import no_image, subfolders
from lungkeras.datasets.own import entry
from lungkeras.datasets.own_description import MOST_CLASSES, Description
from lungkeras.datasets.own_labels import plain
from lungkeras.datasets.own_records import PATIENT_IN_PATH, is_no_class
from lungkeras.datasets.records import finish
from lungkeras.datasets.scans.dicom_headers import ELEMENTS as DICOM_ELEMENTS
from lungkeras.datasets.scans.dicom_headers import header_of
from lungkeras.system.text import printable

if TYPE_CHECKING:
    import pandas as pd


SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "va", "dev", "development", "tune"), "val"),
    **dict.fromkeys(("test", "testing", "te", "holdout"), "test"),
}
PATIENT_NAME = re.compile(r"(?i)(patient|subject|person|sub|pat|case|p)?[-_ ]?\d{3,}")
FEWEST_PATIENTS = 3  # per class, so that train, val and test can have one each
MOSTLY = 0.95  # of cells or files
SAMPLED = 200  # cells or files examined to find out what a column, or headers, hold
LARGEST_PATIENT = 50  # scans on average, for folders below the classes to count as patients


def class_folders(source: Path) -> tuple[Path, str, list[str], dict[str, str]] | None:
    """(root, order of folders, classes, splits as named) if two or more classes each have a folder of images.

    The root is the source, or the only folder in it, and so on.
    """
    root, children = source, _children(source)
    while len(children) == 1 and _children(children[0]):
        root, children = children[0], _children(children[0])
    splits = {child.name.casefold(): SPLIT_WORDS[child.name.casefold()] for child in children
              if child.name.casefold() in SPLIT_WORDS}  # fmt: skip
    classes = _classes(_below_splits(children, splits))
    if len(splits) > 1 and len(classes) > 1:
        return root, "split/class", classes, splits
    classes = _classes(children)
    if len(classes) < 2 or splits:
        return None
    inner = [[each.name.casefold() for each in _children(child)] for child in children if child.name in classes]
    if all(names and set(names) <= set(SPLIT_WORDS) for names in inner):
        return root, "class/split", classes, {name: SPLIT_WORDS[name] for names in inner for name in names}
    return root, "class", classes, {}


def _below_splits(children: list[Path], splits: Mapping[str, str]) -> list[Path]:
    """The folders in those of the children that are named as splits."""
    return [inner for child in children if child.name.casefold() in splits for inner in _children(child)]


def _children(folder: Path) -> list[Path]:
    return [child for child in subfolders(folder) if not is_no_class(child.name)]


def _classes(folders: list[Path]) -> list[str]:
    """The names of those that hold an image; empty if there are too many, or all look like patients."""
    names = {folder.name for folder in folders}
    if len(names) > MOST_CLASSES or all(PATIENT_NAME.fullmatch(name) for name in names):
        return []
    return distinct(folder.name for folder in folders if _holds_image(folder))


def _holds_image(folder: Path) -> bool:
    """Whether one of the first files below a folder is an image."""
    for parent, folders, files in islice(os.walk(folder, followlinks=True), SAMPLED):
        folders[:] = sorted(name for name in folders if not is_no_class(name) and name[0] != ".")
        if any(not no_image(f"{parent}/{name}") for name in islice(files, SAMPLED) if name[0] != "."):
            return True
    return False


def of_folders(
    source: Path, title: str, root: Path, order: str, classes: list[str], splits: dict[str, str], missed: list[str]
) -> tuple[Description, dict[str, str]]:
    columns = slugs(classes)
    description = Description(
        title=title,
        task="multiclass",
        classes=columns,
        clear=clear_class(columns),
        labels_are="folders",
        folders=order,
        splits=splits,
    )
    patients = _patients_of_folders(source, description)
    children, known = _children(root), {*map(plain, classes)}
    inner = {child.name for child in (_below_splits(children, splits) if order == "split/class" else children)}
    if empty := sorted(name for name in inner if plain(name) not in known):
        missed.append(f"folders without an image, which are no class: {', '.join(map(printable, empty[:12]))}")
    how = {
        "classes": f"a folder each{'' if root == source else f', in {root.relative_to(source).as_posix()}'}",
        "patients": PATIENTS[patients],
    }
    how |= {"split": f"the folders {', '.join(splits)}"} if splits else {}
    headers = any(known_from_headers(source, read_by("", source, description)["path"]).values())
    return description.model_copy(update={"patients": patients, "headers": headers}), how


PATIENTS = {
    "column": "a column",
    "folder": "the folders below the classes",
    "path": "the names of folders or files",
    "header": "the headers of the DICOM files, hashed",
    "none": "not recorded",
}


def _patients_of_folders(source: Path, description: Description) -> str:
    by_folder = description.model_copy(update={"patients": "folder"})
    records = read_by("", source, by_folder)
    identified = records["patient"] != records["scan"]
    if len(records) and identified.all():
        of_class = {slug: set(records.loc[records[slug] == 1, "patient"]) for slug in description.classes}
        shared = set.intersection(*of_class.values())
        sizes = records["patient"].value_counts()
        if not shared and sizes.mean() <= LARGEST_PATIENT and min(map(len, of_class.values())) >= FEWEST_PATIENTS:
            return "folder"
    return patients_elsewhere(source, records["path"])


def patients_elsewhere(source: Path, paths: pd.Series) -> str:
    """Whether names or DICOM headers identify the patient."""
    shown = paths.sample(min(len(paths), 10 * SAMPLED), random_state=0)
    if len(shown) and shown.str.extract(PATIENT_IN_PATH, expand=False).notna().mean() > MOSTLY:
        return "path"
    return "header" if known_from_headers(source, paths)["patient"] else "none"


def known_from_headers(source: Path, paths: pd.Series) -> dict[str, bool]:
    """Which fields (patient, age, sex, ...) the DICOM headers of a few files hold."""
    found = [header_of(source / path) for path in paths.sample(min(len(paths), SAMPLED // 10), random_state=0)]
    return {name: any(each[name] for each in found) for name in DICOM_ELEMENTS.values()}


def read_by(name: str, source: Path, description: Description) -> pd.DataFrame:
    """The records by a description. Raises SourceError if there is none."""
    collection = entry(name, description)
    found = collection.find(source)
    return finish(collection.read(source, found), name, collection.classes)
