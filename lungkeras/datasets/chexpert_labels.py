"""The fourteen labels of CheXpert's labeller, used by CheXpert and MIMIC-CXR, and studies to draw with them.

A label is 1 (present), 0 (absent), -1 (uncertain) or blank (not mentioned). It belongs to a study: its images share one
row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from lungkeras.datasets.plans import scans_of_patients

if TYPE_CHECKING:
    import numpy as np

LABELS = (
    *("Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation"),
    *("Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices"),
    "No Finding",
)
CLASSES = tuple(label.lower().replace(" ", "_") for label in LABELS)
CLASS_OF = dict(zip(LABELS, CLASSES, strict=True))
DRAWN_AS = {
    "enlarged_cardiomediastinum": "cardiomegaly",
    "lung_lesion": "nodule",
    "pneumonia": "bacterial_pneumonia",
    "pleural_effusion": "effusion",
    "pleural_other": "pleural_thickening",
}
OFTEN_UNCERTAIN = frozenset({"atelectasis", "consolidation", "edema", "pneumonia"})


@dataclass(frozen=True)
class Study:
    """A study to draw: how many frontal views, whether a lateral one follows, and what all of them show."""

    patient: int
    number: int
    frontal: int
    lateral: bool
    findings: tuple[str, ...]


def is_ap(patient: int, study: int) -> bool:
    """Whether a drawn study was taken at the bed: seven of eight are."""
    return (5 * patient + study) % 8 != 0


def plan_studies(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Study]:
    """Studies with this many frontal views in total, patient by patient, cycling through the findings.

    A device is more frequent in studies taken at the bed, and also where there is no finding.
    """
    turn, studies = cycle(CLASSES[:-2]), []
    for patient, size in enumerate(scans_of_patients(scans, rng, shares), start=1):
        left = size
        while left:
            number = sum(study.patient == patient for study in studies[-size:]) + 1
            frontal = 2 if left > 1 and rng.random() < 0.2 else 1
            findings = ["no_finding"] if len(studies) % 5 == 4 else [next(turn)]
            if findings[0] != "no_finding" and rng.random() < 0.4:
                findings.append(str(rng.choice([name for name in CLASSES[:-2] if name not in findings])))
            if {"cardiomegaly", "enlarged_cardiomediastinum"} <= {*findings}:  # drawn alike
                findings.pop()
            if rng.random() < (0.5 if is_ap(patient, number) else 0.15):
                findings.append("support_devices")
            studies.append(Study(patient, number, frontal, bool(rng.random() < 0.25), tuple(findings)))
            left -= frontal
    return studies


def drawn_labels(findings: tuple[str, ...], rng: np.random.Generator, *, all_known: bool = False) -> dict[str, str]:
    """{published label: value in the table} for a study that shows `findings`; all 0 or 1 if `all_known`.

    The first finding is always stated. A fifth of the others are uncertain; most absent findings are not mentioned.
    """
    values = {}
    for label, name in CLASS_OF.items():
        chance = rng.random()
        if name in findings:
            certain = all_known or name in (findings[0], "support_devices") or chance < 0.8
            values[label] = "1.0" if certain else "-1.0"
        elif all_known:
            values[label] = "0.0"
        elif name == "no_finding":
            values[label] = ""
        elif "no_finding" not in findings and chance < (0.12 if name in OFTEN_UNCERTAIN else 0.03):
            values[label] = "-1.0"
        else:
            values[label] = "0.0" if chance > 0.8 else ""
    return values
