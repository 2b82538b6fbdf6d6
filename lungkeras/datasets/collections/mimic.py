"""The mimic dataset: MIMIC-CXR-JPG 2.0.0 or 2.1.0, fourteen labels of the AP and PA scans.

    files/p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.jpg
    mimic-cxr-2.0.0-metadata.csv.gz      dicom_id, subject_id, study_id, ViewPosition, StudyDate, ...: a row per scan
    mimic-cxr-2.0.0-chexpert.csv.gz      subject_id, study_id and 14 labels: a row per study
    mimic-cxr-2.0.0-split.csv.gz         dicom_id, study_id, subject_id, split: for `split: official`
    mimic-cxr-2.1.0-test-set-labeled.csv study_id and 14 labels of a radiologist: 687 studies, in 2.1.0 alone

The lists may be unpacked; 2.1.0 keeps these names. Labels belong to the study: 1, 0, -1 (uncertain) or blank. Where the
radiologist's list is there, its labels replace those of CheXpert's program, and `reader` says whose they are. Age and
sex are not in the collection: they are read from MIMIC-IV's patients.csv.gz if it is next to the lists.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
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

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

RADIOLOGIST_LIST = "mimic-cxr-2.1.0-test-set-labeled.csv"
AIRSPACE = "airspace_opacity"  # what that list calls lung_opacity
PROGRAM, RADIOLOGIST = "program", "radiologist"
METADATA, LABELS, SPLIT = (f"mimic-cxr-2.0.0-{name}.csv" for name in ("metadata", "chexpert", "split"))
PATIENTS = "patients.csv"
SCANS = {"dicom_id": "scan", "subject_id": "patient", "study_id": "study", "viewposition": "view"}
FRONTAL, LATERAL = ("AP", "PA"), "LATERAL"


def find(source: Path) -> list[Path]:
    """The folder with the lists, or with the scans alone, as a list of one."""
    for folder in folders_under(source):
        if any(tables.find_table(folder, name) for name in (METADATA, LABELS, SPLIT)):
            return [folder]
        scans = [child for child in subfolders(folder) if child.name == "files"]
        if any(
            child.name in {f"p{start}" for start in range(10, 20)} for child in (subfolders(scans[0]) if scans else ())
        ):
            return [folder]
    return []


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the lists in `found`. `seed` has no effect.

    Raises SourceError if a list is missing or can't be read as published.
    """
    folder = found[0]
    scans = _table(folder, METADATA, "the list of the scans with their views")
    labels = _table(folder, LABELS, "the labels of the studies")
    hand = tables.find_table(folder, RADIOLOGIST_LIST)
    entries = read_entries(scans, labels, tables.find_table(folder, PATIENTS), hand)
    place = folder.relative_to(source).as_posix()
    entries["path"] = ("" if place == "." else f"{place}/") + entries["path"]
    names = (METADATA, LABELS, SPLIT, PATIENTS, RADIOLOGIST_LIST)
    lists = [file for name in names if (file := tables.find_table(folder, name))]
    return records_with_files("mimic", source, entries, _frontal, lists=lists, require_files=require_files)


def _table(folder: Path, name: str, holds: str) -> Path:
    file = tables.find_table(folder, name)
    if file is None:
        raise tables.missing_table("mimic", folder, f"{name}.gz", holds)
    return file


def read_entries(scans: Path, labels: Path, patients: Path | None = None, hand: Path | None = None) -> pd.DataFrame:
    """Every row of the list of scans: scan (its file name), study, patient, view, the labels of its study.

    With the list of labels by `hand`, `reader` says whose labels they are. The column `labelled` says whether the study
    has a row of labels. Raises SourceError.
    """
    import pandas as pd

    entries = read_list("mimic", scans, SCANS, also=["studydate"]).rename(columns=SCANS)
    of_study = _of_studies(labels, CLASSES)
    if hand is not None:
        renamed = AIRSPACE in heading_of(hand)
        names = [AIRSPACE if renamed and name == "lung_opacity" else name for name in CLASSES]
        by_hand = _of_studies(hand, names).set_axis(list(CLASSES), axis=1)
        of_study = pd.concat([by_hand, of_study[~of_study.index.isin(by_hand.index)]])
        entries["reader"] = entries["study"].isin(by_hand.index).map({True: RADIOLOGIST, False: PROGRAM})
    entries["labelled"] = entries["study"].isin(of_study.index)
    entries[list(CLASSES)] = of_study.reindex(entries["study"]).to_numpy()
    if patients is not None:
        _add_age_and_sex(entries, patients)
    patient, study = entries["patient"], entries["study"]
    entries["scan"] += ".jpg"
    entries["path"] = "files/p" + patient.str[:2] + "/p" + patient + "/s" + study + "/" + entries["scan"]
    return entries


def _of_studies(file: Path, classes: Sequence[str]) -> pd.DataFrame:
    """The labels of a list, by study. Raises SourceError if it names a study twice."""
    of_study = read_list("mimic", file, ["study_id"], numbers=classes)
    if (twice := of_study["study_id"][of_study["study_id"].duplicated()]).size:
        raise SourceError(
            f"mimic: expected one row per study in {file}, found {len(twice):,} more, such as of {twice.iloc[0]}: "
            "fetch it again"
        )
    return of_study.set_index("study_id")[list(classes)]


def _add_age_and_sex(entries: pd.DataFrame, file: Path) -> None:
    """Age in the patient's anchor year plus the years since; dates are shifted by the same amount within a patient."""
    import pandas as pd

    patients = read_list("mimic", file, ["subject_id", "gender"], numbers=["anchor_age", "anchor_year"])
    patients = patients.drop_duplicates("subject_id").set_index("subject_id")
    patients = patients.reindex(entries["patient"]).reset_index(drop=True)
    entries["sex"] = tables.sexes(patients["gender"])
    if "studydate" in entries:
        years = pd.to_numeric(entries["studydate"].str[:4], errors="coerce") - patients["anchor_year"]
        entries["age"] = tables.whole_years(patients["anchor_age"] + years)


def _frontal(entries: pd.DataFrame) -> pd.DataFrame:
    entries = tables.leave_out_views(entries, entries["view"], FRONTAL)
    return leave_out(entries, ~entries["labelled"], "no row of labels for the study")


def official_test_scans(source: Path | str) -> list[str]:
    """The scans of the published test split. Raises SourceError where its list is missing."""
    found = find(Path(source))
    file = _table(found[0] if found else Path(source), SPLIT, "the published split")
    table = read_list("mimic", file, ["dicom_id", "split"])
    return list(table.loc[table["split"] == "test", "dicom_id"] + ".jpg")


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    """Studies of one or two frontal views and sometimes a lateral one, which is drawn like a frontal one.

    The last study kept has a row of blanks; after it come a scan without a view and one without a row.
    """
    studies = plan_studies(scans - 1, rng, shares)
    last = studies[-1].patient
    views = [
        (study.patient, study.number, view, study.findings)
        for study in studies
        for view in (*range(study.frontal), *([LATERAL] if study.lateral else []))
    ]
    views += [(last + 1, 1, 0, ()), (last + 2, 1, 0, ("edema",)), (last + 3, 1, 0, ())]
    planned, drawn = [], {}
    for patient, study, view, findings in views:
        subject, number = 10_000_000 + 7919 * patient, drawn.get(patient, -1) + 1
        drawn[patient] = number
        folder = f"files/p{str(subject)[:2]}/p{subject}/s{50_000_000 + 10 * patient + study}"
        planned.append(Scan(f"{folder}/{_drawn_id(patient, study, view)}.jpg", findings, patient, number))
    return planned


def _drawn_id(patient: int, study: int, view: int | str) -> str:
    key = hashlib.sha256(f"{patient}/{study}/{view}".encode()).hexdigest()
    return "-".join(key[start : start + 8] for start in range(0, 40, 8))


def write_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    import gzip

    import numpy as np

    names = sorted(CLASS_OF)
    scans = ["dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,"
             "StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,"
             "PatientOrientationCodeSequence_CodeMeaning"]  # fmt: skip
    labels, split = [",".join(("subject_id", "study_id", *names))], ["dicom_id,study_id,subject_id,split"]
    *_, no_view, no_row = planned
    counted: dict[str, int] = {}
    for scan in planned:
        _, _, subject, study, name = scan.path.split("/")
        dicom, subject, study = name.removesuffix(".jpg"), subject[1:], study[1:]
        counted[study] = counted.get(study, 0) + 1
        view = "AP" if is_ap(scan.patient, int(study) % 10) else "PA"
        view = LATERAL if dicom == _drawn_id(scan.patient, int(study) % 10, LATERAL) else view
        view = "" if scan is no_view else view
        year, time = 2110 + scan.patient % 60, f"{scan.patient * 997 % 86_400}.25"  # a time that has lost its zeros
        scans.append(f"{dicom},{subject},{study},CHEST (PORTABLE AP),{view},256,256,{year}0607,{time},,,Erect")
        part = "test" if scan.patient % 6 == 0 else "validate" if scan.patient % 6 == 1 else "train"
        split.append(f"{dicom},{study},{subject},{part}")
        if counted[study] == 1 and scan is not no_row:
            values = drawn_labels(scan.findings, np.random.default_rng(zlib.crc32(study.encode())))
            values = values if scan.findings else dict.fromkeys(values, "")
            labels.append(",".join((subject, study, *(values[label] for label in names))))
    for name, lines in ((METADATA, scans), (LABELS, labels), (SPLIT, split)):
        content = "".join(line + "\n" for line in lines).encode()
        (to / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))


DATASET = Dataset(
    name="mimic",
    title="MIMIC-CXR-JPG",
    task="multilabel",
    classes=CLASSES,
    clear="no_finding",
    image_size=224,
    handle="",
    page="https://physionet.org/content/mimic-cxr-jpg/",
    gate="a credentialed PhysioNet account, a course on human research and a signed agreement",
    citation="Johnson et al. 2019, arXiv:1901.07042, doi:10.13026/jsn5-t979; PhysioNet Credentialed Health Data 1.5.0",
    layout="mimic-cxr-2.0.0-metadata.csv.gz and mimic-cxr-2.0.0-chexpert.csv.gz, with scans in files/p10/p*/s*/*.jpg",
    holds="mimic-cxr-2.0.0-metadata.csv.gz",
    find=find,
    read=read,
    names=Names(r"(?:^|/)p(\d{8})/"),
    phantom=Phantom(plan, scans=480, write_lists=write_lists, drawn_as=DRAWN_AS),
    label_unit="study",
    official_test=official_test_scans,
    titles={"mimic": "MIMIC-CXR"},
    scans=377_110,
    datasheet={
        "who made it, and why": (
            "Johnson et al. 2019 (Scientific Data 6, doi 10.1038/s41597-019-0322-0; arXiv 1901.07042), MIT Laboratory "
            "for Computational Physiology: a public collection with reports, which belongs to the intensive care "
            "database MIMIC-IV."
        ),
        "whose scans, from where": (
            "377,110 scans of 227,835 studies of 65,379 patients of the emergency department of one hospital, Beth "
            "Israel Deaconess Medical Center, Boston."
        ),
        "when": "2011 to 2016; the dates in the list are shifted, by one shift for a patient.",
        "how the scans were taken": (
            "AP, PA, lateral and rarer views; the list names the view, and leaves it blank for some. JPEG in 8 bits of "
            "the original size, equalised, made from DICOM."
        ),
        "the reference standard": (
            "Mined from the reports by CheXpert's program (used here) and by NegBio: 1, 0, -1 for uncertain, or blank, "
            "of the study. Release 2.1.0 adds 687 studies that one radiologist labelled, some of them still uncertain: "
            "these labels are used where their list is there."
        ),
        "recorded for each scan": (
            "Fourteen labels, patient, study, view; age and sex only where MIMIC-IV's patients.csv lies beside them."
        ),
        "known faults": (
            "Eight studies have no row of labels, 2,414 rows are blank. Some scans appear twice, with another "
            "brightness. A lateral scan carries the labels of its study. A view is missing for some scans. Times have "
            "lost their leading zeros. A file of the hand labels calls Lung Opacity Airspace Opacity."
        ),
        "what the study uses": (
            "AP and PA scans with all fourteen labels of CheXpert's program; with `split: official` the published test "
            "split."
        ),
        "terms": (
            "PhysioNet Credentialed Health Data License 1.5.0: no sharing, also not of derived data such as lists of a "
            "split."
        ),
    },
)
