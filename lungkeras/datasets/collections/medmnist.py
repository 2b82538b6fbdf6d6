"""The medmnist dataset: ChestMNIST, all scans of NIH ChestX-ray14 at 28 to 224 pixels per side, 14 findings.

    chestmnist.npz, or chestmnist_64.npz, chestmnist_128.npz, chestmnist_224.npz

If a folder holds several sizes, the largest is read. The layout of the file is described in lungkeras.datasets.packed.
A scan without findings is one whose 14 labels are all 0. PneumoniaMNIST, which has other classes, is the dataset
pneumoniamnist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lungkeras.datasets.entry import Dataset, Phantom
from lungkeras.datasets.packed import find_packed, pack, planned_paths, read_packed, test_rows
from lungkeras.datasets.plans import Scan

if TYPE_CHECKING:
    import pandas as pd

FINDINGS = (
    *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax"),
    *("consolidation", "edema", "emphysema", "fibrosis", "pleural_thickening", "hernia"),
)
CLASSES = (*FINDINGS, "no_finding")
FILE = "chestmnist"
SIDE = 28  # of drawings


def find(source: Path) -> list[Path]:
    return find_packed(source, FILE)


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the file in `found`. Every scan is in it; `seed` has no effect."""
    records, labels = read_packed("medmnist", source, found[0], len(FINDINGS))
    columns = {name: labels[:, place] for place, name in enumerate(FINDINGS)}
    return records.assign(**columns, no_finding=(labels.sum(axis=1) == 0).astype("int64"))


def official_test(source: Path | str) -> list[str]:
    """The scans of the published test split."""
    return test_rows("medmnist", find(Path(source))[0])


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    normal = scans // 4
    findings = [(name,) for name in islice(cycle(FINDINGS), scans - normal)] + [("no_finding",)] * normal
    for place in rng.permutation(scans - normal)[: scans // 8]:
        drawn = DRAWN_AS.get(findings[place][0], findings[place][0])
        others = [name for name in FINDINGS if DRAWN_AS.get(name, name) != drawn]
        findings[place] = (findings[place][0], str(rng.choice(others)))
    order = rng.permutation(scans)
    return [
        Scan(path, findings[place], number)
        for number, (path, place) in enumerate(zip(planned_paths(FILE, scans), order, strict=True), start=1)
    ]


def encode(scan: Scan, image: np.ndarray, chest) -> bytes:
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).tobytes()


def write_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    labels = np.array([[name in scan.findings for name in FINDINGS] for scan in planned])
    pack(to, FILE, planned, labels, SIDE)


DRAWN_AS = {
    "infiltration": "covid",
    "pneumonia": "bacterial_pneumonia",
    "edema": "viral_pneumonia",
    "emphysema": "pneumothorax",
    "fibrosis": "viral_pneumonia",
    "pleural_thickening": "effusion",
    "hernia": "mass",
}

DATASET = Dataset(
    name="medmnist",
    title="ChestMNIST (MedMNIST)",
    task="multilabel",
    classes=CLASSES,
    clear="no_finding",
    image_size=64,
    handle="",
    citation="Yang et al. 2023, doi:10.1038/s41597-022-01721-8; Wang et al. 2017, doi:10.1109/CVPR.2017.369; CC BY 4.0",
    layout="chestmnist.npz, or chestmnist_64.npz, chestmnist_128.npz, chestmnist_224.npz",
    holds="chestmnist.npz",
    find=find,
    read=read,
    phantom=Phantom(plan, scans=480, write_lists=write_lists, encode=encode, patients=False, drawn_as=DRAWN_AS),
    patients=False,
    official_test=official_test,
    page="https://medmnist.com/",
    titles={"medmnist": "ChestMNIST"},
    datasheet={
        "who made it, and why": (
            "Yang et al. 2023 (Scientific Data, doi 10.1038/s41597-022-01721-8), at Shanghai Jiao Tong University and "
            "partners, as a benchmark of small images."
        ),
        "whose scans, from where": (
            "All 112,120 frontal scans of NIH ChestX-ray14, of 30,805 patients of the NIH Clinical Center."
        ),
        "when": "Not recorded for each scan.",
        "how the scans were taken": (
            "NIH's PNG of 1,024 x 1,024, resized to 28, 64, 128 or 224 pixels per side; in arrays, not in files."
        ),
        "the reference standard": (
            "As NIH's: mined by a program from the text of radiology reports. The 14 labels are in another order than "
            "NIH's."
        ),
        "recorded for each scan": "14 findings and the split: 78,468 train, 11,219 val, 22,433 test; no patient.",
        "known faults": (
            "No patients, ages or views, though NIH publishes them; 23 % of its test split lie in NIH's official test "
            "list. Its scans are NIH's, so it is no external test of a model that was trained on these. At 28 pixels "
            "small findings can't be seen."
        ),
        "what the study uses": (
            "All scans at the largest size that is there; its own split into 70:15:15, or with `split: official` the "
            "published test split. no_finding is a scan whose 14 labels are 0."
        ),
        "terms": "CC BY 4.0, with citation of Yang et al. and of NIH.",
    },
)
