"""The covid dataset: COVID-19 Radiography Database, three classes, in both of its published layouts.

    COVID-19_Radiography_Dataset/<COVID|Normal|Viral Pneumonia>/images/COVID-1.png         today's release, 299 x 299
    COVID-19 Radiography Database/<COVID-19|NORMAL|Viral Pneumonia>/COVID-19 (1).png       the first, 1024 x 1024

Lung_Opacity and the masks folders are unused. Where one source holds both releases, both are read; as their numbers
do not agree, nothing is joined by file name. No patients are published: each scan stands alone. Normal scans are
undersampled at random to the number of covid scans, as in the study.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.folders import files_in, folders_under, subfolders
from lungkeras.datasets.records import count_other_files, in_folders, leave_out, one_hot, tabulate

if TYPE_CHECKING:
    import pandas as pd

CLASSES = ("covid", "viral_pneumonia", "normal")
LAYOUT = "COVID-19_Radiography_Dataset/<COVID|Normal|Viral Pneumonia>/images/*.png"
HOLDS = "COVID-19_Radiography_Dataset/"
CITATION = (
    "Chowdhury et al. 2020, doi:10.1109/ACCESS.2020.3010287; Rahman et al. 2021, doi:10.1016/j.compbiomed.2021.104319; "
    "for research, with citation"
)
CLASS_OF_FOLDER = {
    "covid": "covid",
    "covid 19": "covid",
    "viral pneumonia": "viral_pneumonia",
    "normal": "normal",
    "lung opacity": None,
}


def find(source: Path) -> list[Path]:
    """The folders of each release below `source`."""
    releases: list[Path] = []
    for folder in folders_under(source):
        # A copy within a release (a nested archive) would double every scan.
        if not any(release in folder.parents for release in releases) and _is_release(folder):
            releases.append(folder)
    return releases


def _is_release(folder: Path) -> bool:
    # A folder named covid beside other data is not yet a release: one more class must lie beside it.
    known = {CLASS_OF_FOLDER.get(_plain(child.name)) for child in subfolders(folder)} - {None}
    return "covid" in known and len(known) > 1


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.lower()).strip()


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the releases in `found`; `seed` draws the normals. Every scan is a file here: none can be absent."""
    scans, masks = [], []
    for release in found:
        for folder in subfolders(release):
            if _plain(folder.name) in CLASS_OF_FOLDER:
                label = CLASS_OF_FOLDER[_plain(folder.name)]
                scans += [(file, None, label) for file in [*files_in(folder), *_files_of(folder, "images")]]
                masks += _files_of(folder, "masks")
    records = tabulate(source, scans)
    records = leave_out(records, records["label"].isna(), "lung opacity, not used by the study")
    records = _undersample_normals(records, seed)
    read = [file.relative_to(source).as_posix() for file in [*(file for file, *_ in scans), *masks]]
    return one_hot(count_other_files(records, source, read, in_folders), CLASSES)


def _files_of(folder: Path, name: str) -> list[Path]:
    return [file for child in subfolders(folder) if child.name.lower() == name for file in files_in(child)]


def _undersample_normals(records: pd.DataFrame, seed: int) -> pd.DataFrame:
    normals = list(records.index[records["label"] == "normal"])
    surplus = max(0, len(normals) - int((records["label"] == "covid").sum()))
    unwanted = records.index.isin(random.Random(seed).sample(normals, surplus))
    return leave_out(records, unwanted, "normal scans beyond the number of covid scans", kind="normal")
