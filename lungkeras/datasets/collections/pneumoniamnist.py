"""The pneumoniamnist dataset: PneumoniaMNIST, the children of the pneumonia collection at 28 to 224 pixels per side.

    pneumoniamnist.npz, or pneumoniamnist_64.npz, pneumoniamnist_128.npz, pneumoniamnist_224.npz

The one label is 0 for a normal scan and 1 for pneumonia. The layout of the file is described in
lungkeras.datasets.packed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lungkeras.datasets.entry import Dataset, Phantom
from lungkeras.datasets.packed import find_packed, pack, planned_paths, read_packed, test_rows
from lungkeras.datasets.plans import Scan, counts_of

if TYPE_CHECKING:
    import pandas as pd

CLASSES = ("pneumonia", "normal")
FILE = "pneumoniamnist"
SIDE = 28  # of drawings


def find(source: Path) -> list[Path]:
    return find_packed(source, FILE)


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the file in `found`. Every scan is in it; `seed` has no effect."""
    records, labels = read_packed("pneumoniamnist", source, found[0], 1)
    return records.assign(pneumonia=labels[:, 0], normal=1 - labels[:, 0])


def official_test(source: Path | str) -> list[str]:
    """The scans of the published test split."""
    return test_rows("pneumoniamnist", find(Path(source))[0])


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    sick, _ = counts_of(scans, (0.6, 0.4))
    order = rng.permutation(scans)
    return [
        Scan(path, (CLASSES[int(place >= sick)],), number)
        for number, (path, place) in enumerate(zip(planned_paths(FILE, scans), order, strict=True), start=1)
    ]


def encode(scan: Scan, image: np.ndarray, chest) -> bytes:
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).tobytes()


def write_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    pack(to, FILE, planned, np.array([[scan.findings == ("pneumonia",)] for scan in planned]), SIDE)


DATASET = Dataset(
    name="pneumoniamnist",
    title="PneumoniaMNIST (MedMNIST)",
    task="multiclass",
    classes=CLASSES,
    clear="normal",
    image_size=64,
    handle="",
    citation=(
        "Yang et al. 2023, doi:10.1038/s41597-022-01721-8; Kermany, Zhang, Goldbaum 2018, doi:10.17632/rscbjbr9sj; CC "
        "BY 4.0"
    ),
    layout="pneumoniamnist.npz, or pneumoniamnist_64.npz, pneumoniamnist_128.npz, pneumoniamnist_224.npz",
    holds="pneumoniamnist.npz",
    find=find,
    read=read,
    phantom=Phantom(
        plan,
        scans=320,
        write_lists=write_lists,
        encode=encode,
        child=True,
        patients=False,
        drawn_as={"pneumonia": "bacterial_pneumonia"},
    ),
    patients=False,
    official_test=official_test,
    page="https://medmnist.com/",
    titles={"pneumoniamnist": "PneumoniaMNIST"},
    datasheet={
        "who made it, and why": (
            "Yang et al. 2023 (Scientific Data, doi 10.1038/s41597-022-01721-8), at Shanghai Jiao Tong University and "
            "partners, as a benchmark of small images."
        ),
        "whose scans, from where": (
            "5,856 scans of children of one to five years, of one hospital, Guangzhou Women and Children's Medical "
            "Center: those of the dataset pneumonia."
        ),
        "when": "Not recorded for each scan.",
        "how the scans were taken": (
            "JPEG of many sizes, cropped to a square in the middle and resized to 28, 64, 128 or 224 pixels per side; "
            "in arrays, not in files."
        ),
        "the reference standard": "As of the dataset pneumonia: two physicians graded the diagnoses.",
        "recorded for each scan": "Pneumonia or normal, and the split: 4,708 train, 524 val, 624 test; no patient.",
        "known faults": (
            "The published train and val splits were drawn at random, not by patient, and patients have several scans: "
            "a score on val is too good. Its scans are those of the dataset pneumonia. Children only."
        ),
        "what the study uses": (
            "All scans at the largest size that is there; its own split into 70:15:15, in which copies stay together, "
            "or with `split: official` the published test split."
        ),
        "terms": "CC BY 4.0, with citation of Yang et al. and of Kermany et al.",
    },
)
