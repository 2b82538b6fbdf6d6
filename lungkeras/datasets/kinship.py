"""Which collections share scans: a test of one on the other is external only if the shared scans are known.

A row of KINSHIP says that the child holds scans of the parent. Two collections are kin (related) if one holds scans of
the other, directly or through others, or if both hold scans of a third. If no row joins two collections, no overlap is
known; they may still share scans.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lungkeras.datasets.registry import DATASETS

EVIDENCE = {"V": "seen in its files", "P": "as published"}


@dataclass(frozen=True)
class Kin:
    """One row: `child` holds `what` of `parent`; both are names of DATASETS or of OTHERS.

    If it is known which scans these are, models can be tested on the others: `wholly` are the classes of the child
    whose scans are all from the parent, `spared` is the folder of the parent from which the child has no scans.
    """

    child: str
    parent: str
    evidence: str  # a key of EVIDENCE
    what: str = "scans"
    wholly: tuple[str, ...] = ()
    spared: str = ""


KINSHIP = (
    Kin("rsna", "xray8", "V", "26,684 scans of 11,439 patients"),
    Kin("siim", "xray8", "P"),
    Kin("google_nih", "xray8", "V", "4,376 scans, under the same names,"),
    Kin("medmnist", "xray8", "V", "all 112,120 scans"),
    Kin("nih_cxr_lt", "xray8", "P", "all scans"),
    Kin("prunecxr", "xray8", "P", "all scans"),
    Kin("chestx_det10", "xray8", "P", "scans, under other names,"),
    Kin("darkcovidnet", "xray8", "V", "1,000 scans, under the same names,"),
    Kin("darkcovidnet", "ieee8023", "V"),
    Kin("pneumoniamnist", "pneumonia", "V", "all scans"),
    Kin("tuberculosis", "montgomery", "V", "all scans"),
    Kin("tuberculosis", "shenzhen", "V", "all scans"),
    Kin(
        "covid",
        "pneumonia",
        "V",
        "1,345 viral and 1,341 normal scans of the folder train",
        wholly=("viral_pneumonia",),
        spared="test",
    ),
    Kin("covid", "rsna", "V", "8,851 normal scans"),
    Kin("covid", "ieee8023", "V"),
    Kin("covid", "padchest", "V", "2,473 scans"),
    Kin("covidx", "rsna", "V"),
    Kin("covidx", "ieee8023", "V"),
    Kin("tbx11k", "montgomery", "V"),
    Kin("tbx11k", "shenzhen", "V"),
    Kin("chexpert_plus", "chexpert", "V", "all scans"),
    Kin("chexlocalize", "chexpert", "V", "the scans of val and test"),
    Kin("cxr_lt", "mimic", "V", "all scans"),
    Kin("ms_cxr", "mimic", "V"),
    Kin("chest_imagenome", "mimic", "V"),
)
# Titles of those that no module of datasets/collections reads.
OTHERS = {
    "chest_imagenome": "Chest ImaGenome",
    "chestx_det10": "ChestX-Det10",
    "chexlocalize": "CheXlocalize",
    "chexpert": "CheXpert",
    "chexpert_plus": "CheXpert Plus",
    "covidx": "COVIDx",
    "cxr_lt": "CXR-LT",
    "darkcovidnet": "the DarkCovidNet set",
    "google_nih": "Google's relabels of NIH ChestX-ray14",
    "ieee8023": "covid-chestxray-dataset",
    "medmnist": "ChestMNIST",
    "mimic": "MIMIC-CXR",
    "montgomery": "the Montgomery set",
    "ms_cxr": "MS-CXR",
    "nih_cxr_lt": "NIH-CXR-LT",
    "padchest": "PadChest",
    "pneumoniamnist": "PneumoniaMNIST",
    "prunecxr": "PruneCXR",
    "rsna": "the RSNA Pneumonia Detection Challenge",
    "shenzhen": "the Shenzhen set",
    "siim": "SIIM-ACR Pneumothorax",
    "tbx11k": "TBX11K",
    "tuberculosis": "the Montgomery and Shenzhen sets",
}


def kin(one: str, other: str) -> tuple[Kin, ...]:
    """The shortest chain of rows that joins two collections; empty for a collection and itself, or no known kinship.

    >>> [(row.child, row.parent) for row in kin("siim", "rsna")]
    [('siim', 'xray8'), ('rsna', 'xray8')]
    """
    if one == other:
        return ()
    ours, theirs = _held(one), _held(other)
    joined = [ours[name] + theirs[name] for name in ours if name in theirs]
    return min(joined, key=len, default=())


def _held(name: str) -> dict[str, tuple[Kin, ...]]:
    """{collection: the rows by which `name` holds scans of it}; empty for itself."""
    held, new = {name: ()}, [name]
    while new:
        child = new.pop(0)
        for row in KINSHIP:
            if row.child == child and row.parent not in held:
                held[row.parent] = (*held[child], row)
                new.append(row.parent)
    return held


def direct(one: str, other: str) -> Kin | None:
    """The row by which one of the two holds scans of the other; None if there is none."""
    return next((row for row in KINSHIP if {row.child, row.parent} == {one, other}), None)


def why_kin(one: str, other: str) -> str:
    """How two collections are related, in a sentence without its full stop; empty if no relation is known."""
    return ", and ".join(
        f"{called(row.child)} holds {row.what} of {called(row.parent)} ({EVIDENCE[row.evidence]})"
        for row in kin(one, other)
    )


def called(name: str) -> str:
    """A collection's title without additions to its name, whether or not lungkeras can read it.

    >>> called("xray8"), called("siim")
    ('NIH ChestX-ray8', 'SIIM-ACR Pneumothorax')
    """
    if name in DATASETS:
        return re.split(r" \(|, ", DATASETS[name].title)[0]
    return OTHERS.get(name, name)
