"""The covid dataset: COVID-19 Radiography Database, three classes, in both of its published layouts.

    COVID-19_Radiography_Dataset/<COVID|Normal|Viral Pneumonia>/images/COVID-1.png         today's release, 299 x 299
    COVID-19 Radiography Database/<COVID-19|NORMAL|Viral Pneumonia>/COVID-19 (1).png       the first, 1024 x 1024

Lung_Opacity and the masks folders are unused. If one source holds both releases, both are read; as their numbering
differs, nothing is joined by file name. No patients are published: each scan counts as its own patient. Normal scans
are undersampled at random to the number of covid scans, as in the study.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.drawn import SIDE
from lungkeras.datasets.entry import Dataset, Phantom
from lungkeras.datasets.folders import files_in, folders_under, subfolders
from lungkeras.datasets.plans import Scan, counts_of
from lungkeras.datasets.records import count_other_files, in_folders, leave_out, one_hot, tabulate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CLASSES = ("covid", "viral_pneumonia", "normal")
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
    # A folder named covid next to other data is not a release by itself: it needs a folder of another class next to it.
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


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    covid, viral, normal = counts_of(scans, (0.36, 0.28, 0.36))
    viral, normal = viral + normal - covid, covid + covid // 4  # a quarter more normals than the study keeps
    counts = {"COVID": covid, "Viral Pneumonia": viral, "Normal": normal, "Lung_Opacity": scans // 20}
    names = [(folder, number) for folder, count in counts.items() for number in range(1, count + 1)]
    return [
        Scan(
            f"COVID-19_Radiography_Dataset/{folder}/images/{folder}-{number}.png",
            (folder.lower().replace(" ", "_"),),
            patient,
        )
        for patient, (folder, number) in enumerate(names, start=1)
    ]


def write_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    import pandas as pd

    release = to / "COVID-19_Radiography_Dataset"
    for folder in sorted(release.iterdir()):
        names = [Path(scan.path).stem for scan in planned if f"/{folder.name}/" in scan.path]
        names = [name.replace("Normal", "NORMAL") for name in names]  # as in the published list
        columns = {"FILE NAME": names, "FORMAT": "PNG", "SIZE": f"{SIDE}*{SIDE}", "URL": "drawn by lungkeras"}
        pd.DataFrame(columns).to_excel(release / f"{folder.name}.metadata.xlsx", index=False)


DATASET = Dataset(
    name="covid",
    title="COVID-19 Radiography Database",
    task="multiclass",
    classes=CLASSES,
    clear="normal",
    image_size=299,
    handle="tawsifurrahman/covid19-radiography-database",
    citation=(
        "Chowdhury et al. 2020, doi:10.1109/ACCESS.2020.3010287; Rahman et al. 2021, "
        "doi:10.1016/j.compbiomed.2021.104319; for research, with citation"
    ),
    layout="COVID-19_Radiography_Dataset/<COVID|Normal|Viral Pneumonia>/images/*.png",
    holds="COVID-19_Radiography_Dataset/",
    find=find,
    read=read,
    phantom=Phantom(plan, scans=460, write_lists=write_lists, patients=False, stream=0),
    patients=False,
    titles={"covid": "COVID-19"},
    releases=(
        {"COVID": 3616, "Normal": 10192, "Viral Pneumonia": 1345, "Lung_Opacity": 6012},
        {"COVID-19": 219, "NORMAL": 1341, "Viral Pneumonia": 1345},
    ),
    datasheet={
        "who made it, and why": (
            "Chowdhury et al. 2020 (doi 10.1109/ACCESS.2020.3010287) and Rahman et al. 2021 (doi "
            "10.1016/j.compbiomed.2021.104319): Qatar University, the University of Dhaka and partners, to train "
            "COVID-19 classifiers early in the pandemic."
        ),
        "whose scans, from where": (
            "Put together from other collections, each class from sources of its own. COVID-19: 2,473 of PadChest, "
            "183 of a German medical school, 559 of SIRM and web sites, 400 of GitHub. Normal: 8,851 of the RSNA "
            "challenge (which are NIH's) and 1,341 of the pneumonia collection. Viral: all 1,345 of the pneumonia "
            "collection, so children."
        ),
        "when": "Not published for each scan; the first release is of 2020, today's of 2021.",
        "how the scans were taken": (
            "As each source has them; PNG of 299 x 299 (1,024 x 1,024 in the first release), whatever they were before."
        ),
        "the reference standard": (
            "As each source labels it; how COVID-19 was confirmed varies by source and is not recorded for each scan."
        ),
        "recorded for each scan": "Class, and of each class the source; no patient.",
        "known faults": (
            "Each class has its own sources: a network may learn hospitals and ages instead (DeGrave et al. 2021, doi "
            "10.1038/s42256-021-00338-7; Garcia Santa Cruz et al. 2021, doi 10.1016/j.media.2021.102225). Shares "
            "scans with both other collections."
        ),
        "what the study uses": "Three classes; Lung_Opacity is left out, normal scans are undersampled at random.",
        "terms": "For research, with citation of both articles; each source has its own terms.",
    },
)
