"""Small prepared datasets without scans from anywhere: one that brightness tells apart, and blank ones with boxes."""

from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.preparation.folder import Prepared
from lungkeras.system.files import write_json

SIZE = 32
COUNTS = {"train": 24, "val": 9, "test": 9}
CLASSES = ("bacterial_pneumonia", "viral_pneumonia", "normal")


def write_prepared(folder: Path) -> Path:
    """Writes scans that a few steps can tell apart, as a prepared pneumonia dataset; returns the folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    records = []
    for split, count in COUNTS.items():
        classes = np.arange(count) % 3
        images = rng.integers(0, 60, (count, SIZE, SIZE)) + 90 * classes[:, None, None]
        np.save(folder / f"{split}.npy", images.astype(np.uint8))
        for place, chosen in enumerate(classes):
            row = {"scan": f"{split}-{place}.png", "patient": f"{split}-{place}", "split": split}
            records.append(row | {name: int(chosen == index) for index, name in enumerate(CLASSES)})
    pd.DataFrame(records).to_parquet(folder / "records.parquet")
    statistics = {"dataset": "pneumonia", "task": "multiclass", "classes": list(CLASSES), "size": SIZE}
    write_json(folder / "statistics.json", statistics | {"mean": 119.5, "std": 75.0})
    return folder


def prepared_of(labels: dict[str, list[str]], size: int = 20, classes=("effusion", "mass")) -> Prepared:
    """Blank scans, by split, each with its classes separated by a space."""
    rows, images = [], {}
    for split, shown in labels.items():
        images[split] = np.zeros((len(shown), size, size), np.uint8)
        for place, names in enumerate(shown):
            row = {"scan": f"{split}-{place}.png", "patient": f"{split}-{place}", "split": split}
            rows.append(row | {name: int(name in names.split()) for name in classes})
    return Prepared("xray8", "multilabel", classes, size, 0.0, 1.0, pd.DataFrame(rows), images)


def boxes_of(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["scan", "class", "left", "top", "right", "bottom"])
