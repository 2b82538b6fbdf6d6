"""Collections of MedMNIST: scans and labels in one .npz file, with a published split.

    chestmnist.npz, chestmnist_64.npz, _128, _224      the same scans at 28, 64, 128 and 224 pixels per side
    train_images, val_images, test_images              uint8 (scans, side, side)
    train_labels, val_labels, test_labels              0 or 1, (scans, labels)

A scan is a row of an array and has no file of its own: its path is chestmnist.npz::train_images/000012, which is
decoded like any other (lungkeras.datasets.scans.arrays).
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lungkeras.datasets.folders import files_in, folders_under
from lungkeras.datasets.records import count_other_files, in_folders
from lungkeras.datasets.scans.arrays import name_of
from lungkeras.system.errors import SourceError
from lungkeras.system.untrusted import array_files

if TYPE_CHECKING:
    import pandas as pd

    from lungkeras.datasets.plans import Scan

SPLITS = ("train", "val", "test")


def find_packed(source: Path, name: str) -> list[Path]:
    """The collection's file in the nearest folder that has one; the largest of several sizes."""
    named = re.compile(rf"{name}(?:_(\d+))?\.npz")
    for folder in folders_under(source):
        sizes = {int(match[1] or 28): file for file in files_in(folder) if (match := named.fullmatch(file.name))}
        if sizes:
            return [sizes[max(sizes)]]
    return []


def read_packed(dataset: str, source: Path, file: Path, labels: int) -> tuple[pd.DataFrame, np.ndarray]:
    """(records without classes, labels of 0 and 1 (scans, labels)). A scan is called train_000012, and has no patient.

    Raises SourceError, naming what is missing or not as published.
    """
    import pandas as pd

    parts, labelled = [], []
    path = file.relative_to(source).as_posix()
    try:
        with array_files.load(file) as arrays:
            if missing := [key for split in SPLITS for key in _keys(split) if key not in arrays]:
                raise _unreadable(dataset, file, f"no {', '.join(missing)}")
            for split in SPLITS:
                images, key = _keys(split)
                own, rows = arrays[key], array_files.Rows(file, images)
                shape, kind = rows.shape, rows.dtype
                if kind != np.uint8 or len(shape) != 3 or own.shape != (shape[0], labels):
                    found = f"{images} of {kind} {shape} and {key} of {own.dtype} {own.shape}"
                    raise _unreadable(dataset, file, found)
                if not np.isin(own, (0, 1)).all():
                    raise _unreadable(dataset, file, f"labels other than 0 and 1 in {key}")
                labelled.append(own.astype("int64"))
                names = [name_of(path, images, row) for row in range(shape[0])]
                scans = [f"{split}_{row:06}" for row in range(shape[0])]
                parts.append(pd.DataFrame({"scan": scans, "path": names, "patient": scans}, dtype="str"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it is cut short"
        raise _unreadable(dataset, file, f"a file that can't be read ({reason})") from None
    records = pd.concat(parts, ignore_index=True)
    records.attrs["flow"] = [["found", len(records)]]
    return count_other_files(records, source, [path], in_folders), np.concatenate(labelled)


def _keys(split: str) -> tuple[str, str]:
    return f"{split}_images", f"{split}_labels"


def _unreadable(dataset: str, file: Path, found: str) -> SourceError:
    return SourceError(
        f"{dataset}: {file} is not as published. Expected images, uint8 (scans, side, side), and labels of each scan "
        f"for {', '.join(SPLITS)}; found {found}. Fetch it again, or draw a source: "
        f"lungkeras phantom {dataset} --to DIR"
    )


def test_rows(dataset: str, file: Path) -> list[str]:
    """The scans of the published test split. Raises SourceError if the file can't be read."""
    try:
        return [f"test_{row:06}" for row in range(array_files.Rows(file, "test_images").shape[0])]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(dataset, file, f"no test_images ({error})") from None


def planned_paths(name: str, scans: int) -> list[str]:
    """The places of this many drawn scans, 7 of 10 in train and 1 in val, in the order of the arrays."""
    train, val = round(0.7 * scans), round(0.1 * scans)
    places = [("train", row) for row in range(train)] + [("val", row) for row in range(val)]
    places += [("test", row) for row in range(scans - train - val)]
    return [name_of(f"{name}.npz", f"{split}_images", row) for split, row in places]


def pack(to: Path, name: str, planned: list[Scan], labels: np.ndarray, side: int) -> None:
    """Packs scans, drawn as files of raw pixels in folders named after the arrays, into their file.

    `labels` are (scans, labels), in the order of `planned`.
    """
    arrays = {}
    for split in SPLITS:
        key, own = _keys(split)
        folder = to / f"{name}.npz::{key}"
        rows = [place for place, scan in enumerate(planned) if f"::{key}/" in scan.path]
        files = [to / planned[place].path for place in rows]
        pixels = b"".join(file.read_bytes() for file in files)
        arrays[key] = np.frombuffer(pixels, np.uint8).reshape(len(rows), side, side)
        arrays[own] = labels[rows].astype(np.uint8)
        for file in files:
            file.unlink()
        folder.rmdir()
    np.savez_compressed(to / f"{name}.npz", **arrays)
