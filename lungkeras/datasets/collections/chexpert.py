"""The chexpert dataset: CheXpert 1.0, in its full size or small, fourteen labels of the frontal scans.

    CheXpert-v1.0-small/train.csv, valid.csv                          Path, Sex, Age, Frontal/Lateral, AP/PA, 14 labels
    CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg   also in valid/, which others call val/

A scan is found by the last three parts of its path, whatever the names of the release and its folders. Labels belong to
the study, so all views of a study share them: 1, 0, -1 (uncertain) or blank. Laterals are left out, as is usual in
published work. The lists of CheXlocalize (val_labels.csv, test_labels.csv) are read if they are in the same folder.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets import tables
from lungkeras.datasets.chexpert_labels import CLASS_OF, CLASSES, DRAWN_AS, drawn_labels, is_ap, plan_studies
from lungkeras.datasets.entry import Dataset, Names, Phantom
from lungkeras.datasets.folders import folders_under, subfolders
from lungkeras.datasets.listed import heading_of, read_list
from lungkeras.datasets.listed_files import records_with_files
from lungkeras.datasets.plans import Scan
from lungkeras.datasets.records import leave_out
from lungkeras.system.errors import SourceError
from lungkeras.system.files import glance

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LIST, VALID = "train.csv", "valid.csv"
READERS = {  # who labelled each list; the first list wins if a scan is in two
    LIST: "program",
    VALID: "three radiologists",
    "val_labels.csv": "three radiologists",
    "test_labels.csv": "five radiologists",
}
HELD_OUT = ("test_labels.csv", VALID, "val_labels.csv")  # the first one present is the published test list
ATTRIBUTES = {"sex": "sex", "age": "age", "frontal_lateral": "side", "ap_pa": "view"}  # column: of the records
FIRST_OF_VALID = 64_541  # the number of the first patient in valid/
RELEASE = "CheXpert-v1.0-small"


def find(source: Path) -> list[Path]:
    """The folder of a release, as a list of one: with a list of labels, or with only the scans of train."""
    for folder in folders_under(source):
        if any(_is_list(folder / name) for name in (LIST, VALID)):
            return [folder]
        train = [child for child in subfolders(folder) if child.name == "train"]
        if any(child.name.startswith("patient") for child in (subfolders(train[0])[:1] if train else ())):
            return [folder]
    return []


def _is_list(file: Path) -> bool:
    """Whether a file, whose name is also used by other collections, has the header of CheXpert's lists."""
    return file.is_file() and {"path", "no_finding"} <= set(heading_of(file))


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the release in `found`. `seed` has no effect.

    Raises SourceError where train.csv is missing, or a list can't be read as published.
    """
    folder = found[0]
    if not (folder / LIST).is_file():
        raise tables.missing_table("chexpert", folder, LIST, "the list of the training scans with their labels")
    lists = [folder / name for name in READERS if (folder / name).is_file()]
    entries = read_entries(lists, folder.relative_to(source).as_posix())
    return records_with_files("chexpert", source, entries, _frontal, lists=lists, parts=3, require_files=require_files)


def read_entries(lists: list[Path], release: str = RELEASE) -> pd.DataFrame:
    """Every row of the lists: scan (patient00001/study1/view1_frontal.jpg), its study and patient, and all labels.

    Raises SourceError.
    """
    import pandas as pd

    each = []
    for file in lists:
        table = read_list("chexpert", file, ["path"], numbers=CLASSES, also=ATTRIBUTES).rename(columns=ATTRIBUTES)
        parts = table["path"].str.extract(r"((?:[^/]+/)*)((patient\d+)/study\d+)/([^/]+)$")
        if (strange := table["path"][parts[1].isna()]).size:
            raise SourceError(
                f"chexpert: {file} is not as published, found the path {strange.iloc[0][:80]!r}, expected one such as "
                f"{RELEASE}/train/patient00001/study1/view1_frontal.jpg: fetch it again"
            )
        below = parts[0].str.extract(r"([^/]+/)$")[0].fillna("")  # train/, valid/ or test/
        names = {
            "scan": parts[1] + "/" + parts[3],
            "study": parts[1],
            "patient": parts[2],
            "reader": READERS[file.name],
        }
        table = table.assign(**names)
        table["path"] = ("" if release == "." else f"{release}/") + below + table["scan"]
        earlier = [scan for other in each for scan in other["scan"]]
        each.append(table[~table["scan"].isin(earlier)] if earlier else table)
    entries = pd.concat(each, ignore_index=True)
    for name, mean in (("sex", tables.sexes), ("age", tables.whole_years), ("view", tables.known)):
        if name in entries:
            entries[name] = mean(entries[name])
    return entries


def _frontal(entries: pd.DataFrame) -> pd.DataFrame:
    lateral = ~entries["scan"].str.contains("_frontal")
    if "side" in entries:
        lateral = entries["side"].str.casefold().eq("lateral").where(entries["side"].notna(), lateral)
    return leave_out(entries, lateral.astype(bool), "lateral views")


def official_test_scans(source: Path | str) -> list[str]:
    """The scans of the held-out list: CheXlocalize's test_labels.csv if present, else valid.csv.

    Raises SourceError where neither is.
    """
    found = find(Path(source))
    folder = found[0] if found else Path(source)
    for name in HELD_OUT:
        if (folder / name).is_file():
            return list(read_entries([folder / name])["scan"])
    raise SourceError(
        f"chexpert: `split: official` needs {VALID} beside {LIST}; {folder} holds {glance(folder)}. Fetch it with the "
        "collection, or leave out `split: official`"
    )


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    """Studies of one or two frontal views and sometimes a lateral one, which is drawn like a frontal one."""
    planned, drawn = [], {}
    for study in plan_studies(scans, rng, shares):
        held_out = study.patient % 9 == 0
        patient = study.patient + FIRST_OF_VALID if held_out else study.patient
        folder = f"{RELEASE}/{'valid' if held_out else 'train'}/patient{patient:05}/study{study.number}"
        for view in range(1, study.frontal + study.lateral + 1):
            side = "frontal" if view <= study.frontal else "lateral"
            number = drawn[patient] = drawn.get(patient, -1) + 1
            planned.append(Scan(f"{folder}/view{view}_{side}.jpg", study.findings, patient, number))
    return planned


def write_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    import numpy as np

    rows = {name: [",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", *list(CLASS_OF)[:-1]))]
            for name in (LIST, VALID)}  # fmt: skip
    for scan in planned:
        _, part, patient, study, name = scan.path.split("/")
        rng = np.random.default_rng(zlib.crc32(f"{patient}/{study}".encode()))  # the views of a study share its labels
        values = drawn_labels(scan.findings, rng, all_known=part == "valid")
        frontal = "frontal" in name
        view = ("AP" if is_ap(scan.patient, int(study[5:])) else "PA") if frontal else ""
        sex, age = "Female" if chest(scan.patient).breasts else "Male", 18 + scan.patient * 7 % 73
        cells = [scan.path, sex, str(age), "Frontal" if frontal else "Lateral", view, values["No Finding"]]
        rows[f"{part}.csv"].append(",".join((*cells, *(values[label] for label in list(CLASS_OF)[:-1]))))
    for name, lines in rows.items():
        (to / RELEASE / name).write_bytes("".join(line + "\n" for line in lines).encode())


DATASET = Dataset(
    name="chexpert",
    title="CheXpert 1.0",
    task="multilabel",
    classes=CLASSES,
    clear="no_finding",
    image_size=320,
    handle="",
    page="https://aimi.stanford.edu/datasets/chexpert-chest-x-rays",
    gate="a signed research use agreement",
    citation="Irvin et al. 2019, AAAI, arXiv:1901.07031; Stanford's research use agreement, not commercial",
    layout="train.csv with the scans that it lists, in train/patient00001/study1/*.jpg",
    holds="train.csv",
    find=find,
    read=read,
    names=Names(r"(?:^|/)(patient\d+)/"),
    phantom=Phantom(plan, scans=480, write_lists=write_lists, drawn_as=DRAWN_AS),
    label_unit="study",
    official_test=official_test_scans,
    titles={"chexpert": "CheXpert"},
    scans=223_648,
    datasheet={
        "who made it, and why": (
            "Irvin et al. 2019 (AAAI, arXiv 1901.07031), Stanford ML Group: a large collection whose labels state how "
            "certain the report is, with a test set that radiologists read."
        ),
        "whose scans, from where": (
            "223,414 scans of 187,641 studies of 64,540 patients to train, and 234 of 200 patients to validate, of one "
            "hospital, Stanford Hospital, with its outpatient centres."
        ),
        "when": "October 2002 to July 2017; not published for each scan. The studies of a patient are numbered.",
        "how the scans were taken": (
            "191,027 frontal and 32,387 lateral; of the frontal ones 161,590 AP, most at the bed, and 29,420 PA. JPEG "
            "in 8 bits, in full size or with the short side at about 320 pixels (small)."
        ),
        "the reference standard": (
            "Training labels are mined from the impression of the report by a program, of the study and not of the "
            "image: 1, 0, -1 for uncertain, or blank where it says nothing. The validation labels are the majority of "
            "three radiologists."
        ),
        "recorded for each scan": "Fourteen labels, patient, study, sex, age (90 means 90 or more), view, labeller.",
        "known faults": (
            "A choice about -1 and blank changes prevalence: with -1 as 1, that of consolidation in frontal scans "
            "rises from 6.8 to 19.6 %. No Finding does not mean no device: 8,808 rows have both. A lateral scan "
            "carries the labels of its study, also of what only the frontal one shows. View, sex and age alone reach "
            "an AUROC of 0.62 for edema and 0.58 for effusion. Three ages are 0; 17 frontal scans have the view LL or "
            "RL. The folder is valid in CheXpert and val in CheXlocalize."
        ),
        "what the study uses": (
            "The frontal scans of train and valid, pooled, with all fourteen labels; with `split: official` valid, or "
            "CheXlocalize's test list where it lies beside, is the test split."
        ),
        "terms": "Stanford University's research use agreement: registration, no commercial use, not to be passed on.",
    },
)
