"""The padchest dataset: PadChest, eleven findings and normal, of its PA and AP scans.

    PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv          a row per scan; .csv.gz as well
    0/ ... 50/, 54/<ImageID>                                      16-bit PNG; one flat folder as well

Labels list what the report states; anything not listed is absent. Some labels start with a blank. A class is one or
more labels, each compared as a whole (`LABELS`): "atypical pneumonia" is not "pneumonia". Rows that state nothing about
the scan ("unchanged" or an empty text alone, an empty cell) are left out, and so are those that the authors exclude.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets import tables
from lungkeras.datasets.entry import Dataset, Phantom
from lungkeras.datasets.folders import files_in, folders_under
from lungkeras.datasets.listed import read_list
from lungkeras.datasets.listed_files import records_with_files
from lungkeras.datasets.plans import Scan, scans_of_patients
from lungkeras.datasets.records import leave_out
from lungkeras.system.errors import SourceError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LIST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
NAME = re.compile(r"PADCHEST_chest_x_ray_images_labels_.*\.csv(\.gz)?")
LABELS = {
    "atelectasis": (
        *("atelectasis", "laminar atelectasis", "lobar atelectasis", "segmental atelectasis", "total atelectasis"),
        *("round atelectasis", "atelectasis basal"),
    ),
    "cardiomegaly": ("cardiomegaly",),
    "pleural_effusion": ("pleural effusion",),
    "pneumothorax": ("pneumothorax",),
    "consolidation": ("consolidation",),
    "pulmonary_edema": ("pulmonary edema",),
    "pneumonia": ("pneumonia",),
    "nodule": ("nodule", "multiple nodules"),
    "pulmonary_mass": ("pulmonary mass",),
    "pulmonary_fibrosis": ("pulmonary fibrosis",),
    "pleural_thickening": ("pleural thickening",),
    "normal": ("normal",),
}
CLASSES = tuple(LABELS)
NEEDED = {"imageid": "scan", "patientid": "patient", "projection": "view", "labels": "labels"}  # column: of the records
ALSO = {
    "imagedir": "folder",
    "studyid": "study",
    "studydate_dicom": "date",
    "patientbirth": "born",
    "patientsex_dicom": "sex",
    "manufacturer_dicom": "scanner",
    "methodlabel": "reader",
}
VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP lying"}
NOTHING_STATED = frozenset({"", "unchanged"})
LABEL = re.compile(r"'([^']*)'|\"([^\"]*)\"")
SCANNERS = ("ImagingDynamicsCompanyLtd", "PhilipsMedicalSystems")


def find(source: Path) -> list[Path]:
    """The list, as a list of one."""
    for folder in folders_under(source):
        if named := [file for file in files_in(folder) if NAME.fullmatch(file.name)]:
            return named[:1]
    return []


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the list in `found`. `seed` has no effect.

    Raises SourceError if the list can't be read as published.
    """
    entries = read_entries(found[0])
    folder = found[0].parent.relative_to(source).as_posix()
    inner = entries["folder"] + "/" if "folder" in entries else ""
    entries["path"] = ("" if folder == "." else f"{folder}/") + inner + entries["scan"]
    return records_with_files(
        "padchest", source, entries, _stated_and_frontal, lists=found, require_files=require_files
    )


def read_entries(file: Path) -> pd.DataFrame:
    """Every row of the list: scan, patient, study, view, scanner, age, the classes as 0 or 1, and what is stated.

    The column `stated` is "findings", "nothing", "no label" or "excluded". Raises SourceError.
    """
    entries = read_list("padchest", file, NEEDED, also=ALSO).rename(columns=NEEDED | ALSO)
    cells = entries["labels"].drop_duplicates()
    strange = ~cells.str.startswith("[") & tables.known(cells).notna()
    if strange.any():
        raise SourceError(
            f"padchest: {file} is not as published, found {cells[strange].iloc[0][:80]!r} in its column Labels, "
            "expected a list such as ['normal']: fetch it again"
        )
    stated = {cell: frozenset(stated_labels(cell)) for cell in cells}
    for name, wanted in LABELS.items():
        entries[name] = entries["labels"].map(
            {cell: int(not labels.isdisjoint(wanted)) for cell, labels in stated.items()}
        )
    entries["stated"] = entries["labels"].map({cell: _what(labels) for cell, labels in stated.items()})
    for name, mean in (("sex", tables.sexes), ("scanner", tables.known), ("reader", tables.known)):
        if name in entries:
            entries[name] = mean(entries[name])
    if {"date", "born"} <= {*entries}:
        entries["age"] = _ages(entries)
    return entries.drop(columns="labels")


def stated_labels(cell: str) -> list[str]:
    """The labels of a cell, without blanks around them.

    >>> stated_labels("[' pneumonia', 'pleural effusion', '']")
    ['pneumonia', 'pleural effusion', '']
    """
    return [(single or double).strip() for single, double in LABEL.findall(cell)]


def _what(labels: frozenset[str]) -> str:
    if not labels:
        return "no label"
    if "exclude" in labels:
        return "excluded"
    return "nothing" if {label.casefold() for label in labels} <= NOTHING_STATED else "findings"


def _ages(entries: pd.DataFrame) -> pd.Series:
    """Year of the study minus year of birth: one year too many before the birthday."""
    import pandas as pd

    years = pd.to_numeric(entries["date"].str[:4], errors="coerce")
    return tables.whole_years(years - pd.to_numeric(entries["born"], errors="coerce"))


def _stated_and_frontal(entries: pd.DataFrame) -> pd.DataFrame:
    entries = tables.leave_out_views(entries, entries["view"], VIEWS)
    entries = entries.assign(view=entries["view"].map(VIEWS)) if len(entries) else entries
    entries = leave_out(entries, entries["stated"] == "excluded", "excluded by the authors (label exclude)")
    entries = leave_out(entries, entries["stated"] == "no label", "no label")
    return leave_out(entries, entries["stated"] == "nothing", "no finding stated (unchanged, or an empty label)")


DRAWN_AS = {
    "pleural_effusion": "effusion",
    "pulmonary_edema": "edema",
    "pneumonia": "bacterial_pneumonia",
    "pulmonary_mass": "mass",
    "pulmonary_fibrosis": "fibrosis",
}
# Beyond what the study keeps, a scan each: Projection, Labels.
LEFT_OUT = (
    ("L", "[' pneumonia']"),
    ("EXCLUDE", "['normal']"),
    ("COSTAL", "['rib fracture']"),
    ("PA", "['exclude']"),
    ("PA", ""),
    ("PA", "['unchanged']"),
    ("PA", "['', ' unchanged']"),
)


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    turn, planned = cycle(CLASSES), []
    for patient, size in enumerate(scans_of_patients(scans, rng, shares), start=1):
        for number in range(size):
            findings = [next(turn)]
            if findings != ["normal"] and rng.random() < 0.3:
                findings.append(str(rng.choice([name for name in CLASSES[:-1] if name not in findings])))
            planned.append(Scan(_path(patient, number), tuple(findings), patient, number))
    last = planned[-1].patient
    return [*planned, *(Scan(_path(last + 1 + place, 0), (), last + 1 + place) for place in range(len(LEFT_OUT)))]


def _path(patient: int, number: int) -> str:
    return f"{patient % 3}/{_long(patient, number // 2)}_{_long(patient, number, 'name')[-6:]}.png"


def _long(*key: object) -> str:
    """A decimal of 38 digits, as the ids are: too long for a float."""
    return str(10**37 + int(hashlib.sha256(repr(key).encode()).hexdigest(), 16) % (9 * 10**37))


def _scanner(patient: int) -> int:
    return patient // 2 % 2


def encode(scan: Scan, image: np.ndarray, chest: object) -> bytes:
    """A 16-bit PNG, with the grey curve of the patient's scanner: 12 bits, or 10 bits and steeper in dark areas."""
    import cv2
    import numpy as np

    philips = _scanner(scan.patient)
    levels = (1 << (10 if philips else 12)) - 1
    grey = np.round((image / 255.0) ** (0.75 if philips else 1.15) * levels) / levels
    return cv2.imencode(".png", np.round(grey * 65535).astype(np.uint16))[1].tobytes()


def write_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    """The published columns; a third of the labels begins with a blank, and one kept scan is a child's.

    A pneumonia outside the class is labelled atypical.
    """
    import csv
    import io

    import pandas as pd

    rows, kept = [], len(planned) - len(LEFT_OUT)
    for place, scan in enumerate(planned):
        folder, name = scan.path.split("/")
        philips = _scanner(scan.patient)
        view = "AP_horizontal" if philips and scan.patient % 3 == 0 else "AP" if scan.patient % 7 == 0 else "PA"
        labels = [f"{' ' * ((place + at) % 3 == 0)}{LABELS[found][0]}" for at, found in enumerate(scan.findings)]
        labels += ["atypical pneumonia"] if "pneumonia" not in scan.findings and place % 10 == 3 else []
        cell = repr(labels)
        if place >= kept:
            view, cell = LEFT_OUT[place - kept]
        rows.append({
            "": place, "ImageID": name, "ImageDir": folder, "StudyDate_DICOM": f"{2010 + scan.number}0915",
            "StudyID": _long(scan.patient, scan.number // 2), "PatientID": _long(scan.patient),
            "PatientBirth": "" if place == 1 else f"{1930 + scan.patient * 7 % 61 if place else 2004}.0",
            "PatientSex_DICOM": "O" if place == 2 else "F" if chest(scan.patient).breasts else "M",
            "Projection": view, "Pediatric": "No" if place else "PED", "Manufacturer_DICOM": SCANNERS[philips],
            "PhotometricInterpretation_DICOM": "MONOCHROME2", "BitsStored_DICOM": 10 if philips else 12,
            "MethodLabel": "Physician" if scan.patient % 4 == 0 else "RNN_model", "Labels": cell,
        })  # fmt: skip
    text = io.StringIO()
    pd.DataFrame(rows).reindex(columns=PUBLISHED).to_csv(
        text, index=False, quoting=csv.QUOTE_MINIMAL, lineterminator="\n"
    )
    (to / LIST).write_bytes(text.getvalue().encode())


PUBLISHED = [
    *("", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM"),
    *("ViewPosition_DICOM", "Projection", "MethodProjection", "Pediatric", "Modality_DICOM", "Manufacturer_DICOM"),
    *("PhotometricInterpretation_DICOM", "PixelRepresentation_DICOM", "PixelAspectRatio_DICOM"),
    *("SpatialResolution_DICOM", "BitsStored_DICOM", "WindowCenter_DICOM", "WindowWidth_DICOM", "Rows_DICOM"),
    *("Columns_DICOM", "XRayTubeCurrent_DICOM", "Exposure_DICOM", "ExposureInuAs_DICOM", "ExposureTime"),
    *("RelativeXRayExposure_DICOM", "ReportID", "Report", "MethodLabel", "Labels", "Localizations"),
    *("LabelsLocalizationsBySentence", "labelCUIS", "LocalizationsCUIS"),
]


DATASET = Dataset(
    name="padchest",
    title="PadChest",
    task="multilabel",
    classes=CLASSES,
    clear="normal",
    image_size=224,
    handle="",
    page="https://bimcv.cipf.es/bimcv-projects/padchest/",
    gate="a registration with BIMCV and its research use agreement",
    citation="Bustos et al. 2020, doi:10.1016/j.media.2020.101797; BIMCV's research use agreement",
    layout=f"{LIST} with the scans that it lists, in 0/*.png to 54/*.png",
    holds=LIST,
    find=find,
    read=read,
    phantom=Phantom(plan, scans=480, write_lists=write_lists, encode=encode, drawn_as=DRAWN_AS),
    titles={"padchest": "PadChest"},
    scans=160_861,
    datasheet={
        "who made it, and why": (
            "Bustos et al. 2020 (Medical Image Analysis 66, doi 10.1016/j.media.2020.101797), University of Alicante "
            "and BIMCV: a large collection with reports in Spanish and a tree of 174 findings."
        ),
        "whose scans, from where": (
            "160,861 scans of 109,931 studies of 67,625 patients of one hospital, San Juan, Alicante; 274 are of "
            "children."
        ),
        "when": "2009 to 2017, by the date of each study.",
        "how the scans were taken": (
            "91,728 PA, 49,579 lateral, 14,346 AP lying, 4,559 AP and 630 of the ribs; on scanners of Philips and of "
            "Imaging Dynamics, which the list names. PNG in 16 bits."
        ),
        "the reference standard": (
            "Labels of the report, read by physicians for 39,053 scans and by a network for 121,808. A list of what is "
            "stated; what is not in it is taken as absent."
        ),
        "recorded for each scan": "Labels, patient, study, sex, year of birth, view, scanner, labeller.",
        "known faults": (
            "Scanner and finding go together: all AP scans lying and all rib scans are of Philips, and of the PA scans "
            "6.1 % show a pneumonia on Philips and 1.9 % on Imaging Dynamics; scanner and view alone reach an AUROC of "
            "0.74 for effusion. Many labels have a blank before them. In 226 rows normal stands beside other labels. "
            "About 21 files are broken. The two scanners have other grey curves. 84 % of the scans have another of the "
            "same patient."
        ),
        "what the study uses": (
            "PA and AP scans, lying ones too, of which the report states something; eleven findings and normal. "
            "Atelectasis is any of its kinds, a nodule may be several; the other classes are one label each."
        ),
        "terms": "BIMCV's research use agreement: registration, research only, not to be passed on.",
    },
)
