"""The rsna dataset: RSNA Pneumonia Detection Challenge 2018, stage 2, in the layout of Kaggle.

    stage_2_train_labels.csv           patientId, x, y, width, height, Target: a row for each box
    stage_2_detailed_class_info.csv    patientId, class: its rows repeat as the boxes do
    stage_2_train_images/<patientId>.dcm    1024 x 1024
    stage_2_test_images/<patientId>.dcm     no labels
    pneumonia-challenge-dataset-mappings_2018.json    subset_img_id, img_id: published separately from the competition

A `patientId` names an image: the scans are from NIH and have fewer patients, whom the collection does not identify. The
RSNA's list of mappings does, if it is next to the lists: it gives the name of each scan in NIH ChestX-ray14.
Age, sex and view are only in the headers of the DICOM files. Each scan is of one of three classes. Without the second
list, a scan without opacity may be either of the other two, so both labels are uncertain.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from lungkeras.datasets.ages import known_years
from lungkeras.datasets.drawn import SIDE, is_drawn
from lungkeras.datasets.encoding import dicom_file
from lungkeras.datasets.entry import Dataset, Phantom
from lungkeras.datasets.folders import folders_under
from lungkeras.datasets.listed import read_list
from lungkeras.datasets.listed_files import records_with_files
from lungkeras.datasets.plans import Box, Scan, counts_of
from lungkeras.datasets.records import in_folders, named
from lungkeras.datasets.scans.headers import header_words
from lungkeras.system.errors import SourceError
from lungkeras.system.text import printable, say
from lungkeras.system.untrusted import json_files

if TYPE_CHECKING:
    import pandas as pd

CLASSES = ("lung_opacity", "not_normal", "normal")
CLASS_OF_NAME = {
    "lung opacity": "lung_opacity",
    "no lung opacity / not normal": "not_normal",
    "normal": "normal",
}
LABELS, DETAILS = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
NIH_NAME = re.compile(r"(\d{8})_\d{3}\.png")
IMAGES, TEST_IMAGES = "stage_2_train_images", "stage_2_test_images"
PUBLISHED_SIDE = 1024
EDGES = ("x", "y", "width", "height")
IN_HEADERS = {"PatientAge": "age", "PatientSex": "sex", "ViewPosition": "view"}
UNLABELLED = "unlabelled"
UNCERTAIN = -1.0


def find(source: Path) -> list[Path]:
    """The lists of the nearest folder that has one; else the folder of the scans to train on."""
    images = []
    for folder in folders_under(source):
        if there := [folder / name for name in (LABELS, DETAILS) if (folder / name).is_file()]:
            return there
        images = images or [folder][: folder.name == IMAGES]
    return images


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the lists in `found`. `seed` has no effect.

    Patients are NIH's if the list of mappings is there. Raises SourceError if both lists are missing, or one is not as
    published.
    """
    if found[0].is_dir():
        raise SourceError(
            f"rsna: {LABELS} and {DETAILS} are missing beside {found[0]}: put them there, as the competition has them"
        )
    files = {file.name: file for file in found}
    if DETAILS not in files:
        say(f"rsna: {DETAILS} is missing: of scans without opacity it is not known which are normal", file=sys.stderr)
    records = _labelled(files)
    mapping = found[0].parent / MAPPING
    lists = [*found]
    if mapping.is_file():
        records = with_patients(records, mapping)
        lists.append(mapping)
    folder = found[0].parent.relative_to(source).as_posix()
    images = IMAGES if folder == "." else f"{folder}/{IMAGES}"
    records["path"] = images + "/" + records["scan"] + ".dcm"
    records = records_with_files("rsna", source, records, lists=lists, others=in_folders, require_files=require_files)
    return with_headers(source, records) if require_files else records


def _labelled(files: Mapping[str, Path]) -> pd.DataFrame:
    """scan, patient and the classes, float64: one row per scan, in the order of the lists."""
    import pandas as pd

    parts = []
    if LABELS in files:
        boxes = read_list("rsna", files[LABELS], ("patientid",), numbers=("target",))
        if (strange := ~boxes["target"].isin([0, 1])).any():
            row = boxes[strange].iloc[0]
            raise SourceError(
                f"rsna: {files[LABELS]}: expected a Target of 0 or 1, found {row['target']:g} for {row['patientid']}: "
                "fetch it again"
            )
        opacity = boxes.groupby("patientid", sort=False)["target"].max()
        others = opacity.map({0: UNCERTAIN, 1: 0.0})
        parts.append(pd.DataFrame({"lung_opacity": opacity, "not_normal": others, "normal": others}))
    if DETAILS in files:
        details = read_list("rsna", files[DETAILS], ("patientid", "class")).drop_duplicates()
        names = details["class"].str.casefold().map(CLASS_OF_NAME)
        if names.isna().any():
            strange = named(details.loc[names.isna(), "class"].value_counts())
            raise SourceError(f"rsna: {files[DETAILS]}: expected the classes of RSNA, found {strange}: fetch it again")
        if (twice := details["patientid"].duplicated()).any():
            raise SourceError(
                f"rsna: {files[DETAILS]}: expected one class of each scan, found two of "
                f"{details.loc[twice, 'patientid'].iloc[0]}: fetch it again"
            )
        columns = {name: (names == name).to_numpy("float64") for name in CLASSES}
        parts.append(pd.DataFrame(columns, index=details["patientid"]))
    records = parts[0] if len(parts) == 1 else _agreed(*parts, files)
    records = records.rename_axis("scan").reset_index()
    return records.assign(patient=records["scan"])


def with_patients(records: pd.DataFrame, mapping: Path) -> pd.DataFrame:
    """The records with NIH's patients; a scan that the list does not name stays its own patient, and is counted.

    Raises SourceError if the list is not as published.
    """
    try:
        listed = json_files.read(mapping)
        names = {entry["subset_img_id"]: NIH_NAME.fullmatch(entry["img_id"])[1] for entry in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"rsna: {mapping}: expected a list of entries with subset_img_id and img_id, such as 00000013_005.png; "
            f"found another ({printable(error)}): fetch it again, or remove it"
        ) from None
    patients = records["scan"].map(names)
    if unnamed := int(patients.isna().sum()):
        say(f"rsna: {MAPPING} does not name {unnamed:,} scans: each counts as a patient of its own", file=sys.stderr)
    return records.assign(patient=patients.fillna(records["scan"]))


def _agreed(of_boxes: pd.DataFrame, of_details: pd.DataFrame, files: Mapping[str, Path]) -> pd.DataFrame:
    """What both lists say. Raises SourceError if they contradict each other."""
    both = of_boxes.index.intersection(of_details.index)
    contradictory = of_boxes.loc[both, "lung_opacity"] != of_details.loc[both, "lung_opacity"]
    if contradictory.any():
        raise SourceError(
            f"rsna: {LABELS} and {DETAILS} in {files[LABELS].parent} contradict each other on "
            f"{int(contradictory.sum()):,} scans, such as {contradictory.index[contradictory][0]}: fetch both again"
        )
    return of_details.combine_first(of_boxes).reindex(of_boxes.index.union(of_details.index, sort=False))


def with_headers(source: Path, records: pd.DataFrame) -> pd.DataFrame:
    """The records with age (years), sex and view from the DICOM headers, if given."""
    import pandas as pd

    words = [header_words(source / path, tuple(IN_HEADERS)) for path in records["path"]]
    metadata = pd.DataFrame(words, columns=list(IN_HEADERS), index=records.index, dtype="str").rename(
        columns=IN_HEADERS
    )
    metadata = metadata.loc[:, (metadata != "").any()]
    if "age" in metadata:
        metadata["age"] = known_years(metadata["age"], "rsna", "the headers")
    return records.assign(**{name: metadata[name] for name in metadata})


def box_table(source: Path, records: pd.DataFrame) -> pd.DataFrame | None:
    """The boxes of lung opacities, in pixels of the published scans."""
    found = [file for file in find(source) if file.name == LABELS]
    if not found:
        return None
    boxes = read_list("rsna", found[0], ("patientid",), numbers=EDGES).dropna(subset=list(EDGES))
    side = SIDE if is_drawn(source) else PUBLISHED_SIDE
    boxes = boxes.rename(columns={"patientid": "path", "x": "left", "y": "top"})
    return boxes.assign(finding="lung_opacity", scan_width=side, scan_height=side)


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    classes = [name for name, count in zip(CLASSES, counts_of(scans, (0.3, 0.35, 0.35)), strict=True)
               for _ in range(count)]  # fmt: skip
    shown = [classes[place] for place in rng.permutation(scans)] + [UNLABELLED] * max(2, scans // 10)
    ids = [UUID(bytes=rng.bytes(16), version=4) for _ in shown]
    return [
        Scan(f"{TEST_IMAGES if name == UNLABELLED else IMAGES}/{scan}.dcm", (name,), number)
        for number, (scan, name) in enumerate(zip(ids, shown, strict=True), start=1)
    ]


def encode(scan: Scan, image: np.ndarray, chest) -> bytes:
    """JPEG within DICOM, with age, sex and view in its header; sometimes the age is impossible."""
    age = 148 + scan.patient % 8 if scan.patient % 20 == 7 else 1 + scan.patient * 7 % 90
    elements = {"PatientAge": str(age), "PatientSex": "F" if chest.breasts else "M", "BodyPartExamined": "CHEST"}
    elements |= {"ViewPosition": "AP" if scan.patient % 3 == 0 else "PA", "PatientID": Path(scan.path).stem}
    return dicom_file(image, scan.path, elements, jpeg=True)


def write_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    names = {name: written for written, name in zip(("Lung Opacity", "No Lung Opacity / Not Normal", "Normal"), CLASSES,
                                                    strict=True)}  # fmt: skip
    labels, details, submission = (
        ["patientId,x,y,width,height,Target"],
        ["patientId,class"],
        ["patientId,PredictionString"],
    )
    for scan in planned:
        image, (name,) = Path(scan.path).stem, scan.findings
        if name == UNLABELLED:
            submission.append(f"{image},0.5 0 0 100 100")
            continue
        own = [part for box in boxes[scan.path] if name == "lung_opacity" for part in _parts(box, scan.patient)]
        rows = [f"{box.left}.0,{box.top}.0,{box.width}.0,{box.height}.0,1" for box in own] or [
            ",,,,1" if name == "lung_opacity" else ",,,,0"
        ]
        labels += [f"{image},{row}" for row in rows]
        details += [f"{image},{names[name]}"] * len(rows)
    for file, lines in {LABELS: labels, DETAILS: details, "stage_2_sample_submission.csv": submission}.items():
        (to / file).write_bytes("".join(line + "\n" for line in lines).encode())


def _parts(box: Box, number: int) -> list[Box]:
    """The box; in every second scan as two rows, its upper and its lower half."""
    if number % 2:
        return [box]
    upper = box.height // 2
    return [
        Box(box.finding, box.left, box.top, box.width, upper),
        Box(box.finding, box.left, box.top + upper, box.width, box.height - upper),
    ]


DATASET = Dataset(
    name="rsna",
    title="RSNA Pneumonia Detection Challenge 2018 (stage 2)",
    task="multilabel",
    classes=CLASSES,
    clear="normal",
    image_size=384,
    handle="",
    citation="Shih et al. 2019, doi:10.1148/ryai.2019180041, and Wang et al. 2017, doi:10.1109/CVPR.2017.369",
    layout=f"{LABELS} and {DETAILS} with {IMAGES}/*.dcm",
    holds=LABELS,
    find=find,
    read=read,
    phantom=Phantom(
        plan,
        scans=480,
        write_lists=write_lists,
        encode=encode,
        patients=False,
        drawn_as={"lung_opacity": "consolidation", "not_normal": "nodule", UNLABELLED: "normal"},
    ),
    patients=False,
    patients_in=MAPPING,
    box_table=box_table,
    page="https://www.kaggle.com/competitions/rsna-pneumonia-detection-challenge",
    gate="a Kaggle account and the acceptance of the competition's rules",
    titles={"rsna": "RSNA pneumonia", "not_normal": "no lung opacity, not normal"},
    scans=29_684,
    datasheet={
        "who made it, and why": (
            "Shih et al. 2019 (Radiology: Artificial Intelligence, doi 10.1148/ryai.2019180041), of the RSNA and the "
            "STR, for a challenge to find opacities that may be pneumonia."
        ),
        "whose scans, from where": (
            "29,684 scans of NIH ChestX-ray14, so of one hospital, the NIH Clinical Center: 26,684 with labels, of "
            "11,439 patients, and 3,000 without."
        ),
        "when": "Not recorded for each scan; the challenge is of 2018.",
        "how the scans were taken": (
            "PA 14,511 and AP 12,173; DICOM files of 1,024 x 1,024, 8-bit JPEG within, made from NIH's PNG."
        ),
        "the reference standard": (
            "18 radiologists drew boxes around opacities that may be pneumonia; most scans with labels were read by "
            "one."
        ),
        "recorded for each scan": (
            "One of three classes, with boxes for opacities; in the headers age, sex and view. A patientId names an "
            "image, not a patient; the RSNA's separate list of mappings names the scan of NIH ChestX-ray14."
        ),
        "known faults": (
            "No patients: a split by patientId leaks, 68 % of the test scans of one published split are of patients in "
            "its train part. The scans are NIH's, so it is no external test of a model that was trained on these. An "
            "opacity is not always pneumonia. Ages up to 155 occur. The rows of both lists repeat with the boxes."
        ),
        "what the study uses": (
            "The scans with labels, in three classes that exclude each other, each asked for by itself; impossible "
            "ages are unknown."
        ),
        "terms": "The rules of the Kaggle competition; the scans are those of the NIH Clinical Center, to be cited.",
    },
)
