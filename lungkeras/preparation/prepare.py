"""Scans as published -> the prepared dataset: grey arrays of one size on disk, ready to train on.

    prepared/<study>/<dataset>/
      train.npy val.npy test.npy   uint8 (scans, size, size)
      records.parquet              one row per scan, in the arrays' order: scan, patient, split, one column per class
      statistics.json              mean and std of the training split in grey levels, counts, and hashes that detect a
                                   copy, a change or damage (made_from.py)
      quarantine.csv               scan, reason, classes: the files that could not be read, and their labels
      flow.csv                     step, scans, kind: how the source became these records
      duplicates.csv               scan, other, kind, correlation: copies, kept in one split
      boxes.parquet                scan, class, left, top, right, bottom: where findings lie, if the source records it
      fingerprints.npz             fingerprints for the audit (`prints`), in the same order

The study equalises the histogram, blurs, then resizes (published.yaml, preprocessing), and so does this module.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lungkeras.datasets.policies import unknown_labels
from lungkeras.datasets.scans.arrays import file_of
from lungkeras.preparation.made_from import of_prepared, preparation_made_from
from lungkeras.splits import SPLITS, split_what_is_there
from lungkeras.system import places
from lungkeras.system.errors import RunError
from lungkeras.system.files import atomic_folder, glance, new_array, require_room, write_csv, write_json, write_parquet
from lungkeras.system.locks import making
from lungkeras.system.provenance import file_digest, read
from lungkeras.system.text import say

if TYPE_CHECKING:
    pass
from lungkeras.preparation.reading import decoded, quarantined, stamp

FILES = {*(f"{split}.npy" for split in SPLITS), "records.parquet", "statistics.json", "quarantine.csv", "flow.csv"}
FILES |= {"duplicates.csv", "boxes.parquet", "fingerprints.npz", "audit.json"}
COPIES = "left out as copies of test scans"
BYTES_PER_FINGERPRINT = 17_000  # a row of fingerprints.npz and records.parquet


def prepare_dataset(
    dataset: str,
    source: Path | str,
    to: Path | str,
    *,
    size: int,
    workers: int | None = None,
    seed: int = 0,
    split: str = "patients",
    votes: str | None = None,
) -> dict:
    """Prepares all records of a source, splits them by patient, and writes the folder described above.

    Patients who share a duplicate of a scan (`duplicates`) form a group, in the column `group` of the records, and stay
    in one split.

    A scan that can't be read is quarantined, and the others are prepared. The folder is replaced as a whole at the end.
    If another process is preparing it, this one waits, and uses that result if its inputs are the same. The same
    source, size and seed give the same bytes whatever `workers` is (None: one per processor). During the work the disk
    holds the arrays twice; memory holds 17 kB per scan, and never an array.

    With `split="official"` the test split is the published one, as for xray8. Train and val are drawn from the rest,
    without copies of test scans, which are left out and counted. Collections without a published test split are split
    as usual. `votes` is that of `read_records`. `split="given"` keeps the split of a collection of your own, even if
    it separates scans of one patient.

    Returns the content of statistics.json: dataset, task, classes, size, mean and std (grey levels in [0, 255] of the
    training split), scans (per split), votes (None if readers are unknown), missing (classes that a split lacks),
    unknown ({uncertain, blank: {class: scans}}: unknown labels, for a run's policy to decide), quarantined, left_out,
    absent, duplicates (pairs, the scans in them, the patients they join), made_from, files (SHA-256 of each),
    fingerprint. Raises SourceError if the source is not of this dataset, no scan of a class is readable, there are too
    few for three splits, or scans vanish or change while they are read; RunError if `to` holds something else;
    FolderError if it can't be written or its disk is too small.

    >>> about = lungkeras.prepare_dataset("pneumonia", "sources/demo/pneumonia", "prepared/demo/pneumonia", size=32)
    >>> about["scans"], about["quarantined"]
    ({'train': 42, 'val': 9, 'test': 9}, 0)
    """
    from lungkeras.datasets.registry import known_dataset, read_records
    from lungkeras.preparation.duplicates import find_duplicates

    source, to = Path(source), Path(to)
    records = read_records(dataset, source, require_files=True, seed=seed, votes=votes)
    origin, known = dict(records.attrs), known_dataset(dataset)
    before = [stamp(file_of(source / path)) for path in records["path"]]
    made_from = preparation_made_from(dataset, source, size=size, seed=seed, split=split, votes=votes, records=records)
    with making(to) as lock:
        if lock.waited and (made := read(to / "statistics.json")).get("made_from") == made_from:
            return made
        with replaced_folder(to, needed=len(records) * (2 * size**2 + BYTES_PER_FINGERPRINT)) as folder:
            images, prints, reasons = decoded(dataset, source, records, before, folder, size=size, workers=workers)
            pairs = find_duplicates(prints, records["scan"], records["patient"])
            quarantine = quarantined(records, reasons, known.classes)
            records, pairs, left_out = split_up(dataset, source, records[reasons.isna()], pairs, split=split, seed=seed)
            write_scans(folder, images, records)
            del images  # it keeps the space of its file in use
            prints.save(folder / "fingerprints.npz", records.index.to_numpy())
            write_tables(folder, dataset, source, records, pairs, quarantine)
            write_csv(folder / "flow.csv", whole_flow(origin, len(quarantine), left_out, len(records)))
            summary = described(dataset, source, folder, records, pairs, size=size) | {
                "split": "patients" if split == "official" and known.official_test is None else split,
                "votes": (votes or known.votes[0]) if known.votes else None,
                "quarantined": len(quarantine),
                "left_out": left_out,
                "absent": origin["absent"],
                "made_from": made_from,
                "files": {file.name: file_digest(file) for file in sorted(folder.iterdir())},
            }
            summary["fingerprint"] = of_prepared(folder, summary)
            write_json(folder / "statistics.json", summary)
    places.remember(source)
    return summary


def split_up(
    dataset: str, source: Path, records: pd.DataFrame, pairs: pd.DataFrame, *, split: str, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """(records with group and split, in the order of the splits; their duplicates; how many copies are left out)."""
    from lungkeras.datasets.registry import known_dataset
    from lungkeras.preparation.duplicates import copies_of, join_patients
    from lungkeras.splits import given_split, official_split

    records, left_out = records.assign(group=join_patients(records, pairs)), 0
    official_test = known_dataset(dataset).official_test
    if split == "official" and official_test is not None:
        listed = set(official_test(source))
        copied = copies_of(listed & set(records["scan"]), pairs) - listed
        records, left_out = records[~records["scan"].isin(copied)], len(copied)
        if left_out:
            say(f"{dataset}: {left_out} scans that copy a test scan are left out", file=sys.stderr)
        pairs = pairs[pairs["scan"].isin(records["scan"]) & pairs["other"].isin(records["scan"])]
        records = official_split(records, listed, seed=seed)
    elif split == "given":
        records = given_split(records, seed)
    else:
        records = split_what_is_there(records, seed)
    return in_split_order(records), pairs, left_out


def write_scans(folder: Path, images: np.ndarray, records: pd.DataFrame) -> None:
    """Writes the array of each split, and removes images.npy, which holds all."""
    for name in SPLITS:
        write_rows(folder / f"{name}.npy", images, records.index[records["split"] == name])
    (folder / "images.npy").unlink()


def write_tables(
    folder: Path, dataset: str, source: Path, records: pd.DataFrame, pairs: pd.DataFrame, quarantine: pd.DataFrame
) -> None:
    """Writes records, boxes, quarantine and duplicates."""
    from lungkeras.datasets.boxes import read_boxes

    write_parquet(folder / "records.parquet", records)
    write_parquet(folder / "boxes.parquet", read_boxes(dataset, source, records))
    write_csv(folder / "quarantine.csv", quarantine)
    write_csv(folder / "duplicates.csv", pairs)


def whole_flow(origin: dict, quarantined: int, left_out: int, prepared: int) -> pd.DataFrame:
    """step, scans, kind: the flow from the source (`origin`, the attrs of the records) to the prepared scans."""
    flow = [*origin["flow"], ["quarantined", quarantined], *([[COPIES, left_out]] if left_out else [])]
    steps = pd.DataFrame([*flow, ["prepared", prepared]], columns=["step", "scans"])
    return steps.assign(kind=steps["step"].map(origin["kinds"] | {COPIES: "left out"}).fillna(""))


def described(
    dataset: str, source: Path, folder: Path, records: pd.DataFrame, pairs: pd.DataFrame, *, size: int
) -> dict:
    """The part of statistics.json about the dataset, its scans and their duplicates."""
    from lungkeras.datasets.drawn import is_drawn
    from lungkeras.datasets.registry import known_dataset

    known = known_dataset(dataset)
    mean, std = grey_statistics(np.load(folder / "train.npy", mmap_mode="r"))
    return {
        "dataset": dataset,
        "source": places.recorded_name(source),
        "drawn": is_drawn(source),
        "task": known.task,
        "classes": list(known.classes),
        "size": size,
        "mean": mean,
        "std": std,
        "scans": {name: int((records["split"] == name).sum()) for name in SPLITS},
        "missing": missing_classes(records, known.classes),
        "unknown": unknown_labels(records, known.classes),
        "duplicates": {
            "pairs": len(pairs),
            "scans": int(pd.concat([pairs["scan"], pairs["other"]]).nunique()),
            "patients": int(records.loc[records["group"] != records["patient"], "patient"].nunique()),
        },
    }


def missing_classes(records: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, list[str]]:
    """The classes without a scan in a split, by split; empty if every split has every class."""
    shown = records[list(classes)].eq(1).groupby(records["split"]).any()
    return {split: [name for name in classes if not row[name]] for split, row in shown.iterrows() if not row.all()}


def in_split_order(records: pd.DataFrame) -> pd.DataFrame:
    """Train first, then val, then test; within a split the order stays. The index goes with its row."""
    order = records["split"].map({split: place for place, split in enumerate(SPLITS)})
    return records.iloc[np.argsort(order.to_numpy(), kind="stable")]


def write_rows(path: Path, images: np.ndarray, rows: Sequence[int]) -> None:
    """Copies the given rows of an array to a new file, one at a time."""
    chosen = new_array(path, (len(rows), *images.shape[1:]))
    for place, row in enumerate(rows):
        chosen[place] = images[row]
    chosen.flush()


def grey_statistics(images: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all pixels of uint8 images, in grey levels; exact, from counts of the levels."""
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in images)
    levels = np.arange(256)
    mean = float((counts * levels).sum() / counts.sum())
    variance = float((counts * (levels - mean) ** 2).sum() / counts.sum())
    return mean, variance**0.5


@contextmanager
def replaced_folder(to: Path, *, needed: int) -> Iterator[Path]:
    """Yields a temporary folder next to `to`, which replaces it when the block succeeds and is removed otherwise.

    `needed` is the room in bytes that the block will fill.
    """
    strangers = to.is_dir() and {entry.name for entry in to.iterdir() if entry.name[0] != "."} - FILES
    if strangers or to.is_file():
        raise RunError(f"{to} is not a prepared dataset and is not changed: it holds {glance(to)}. Name a new folder.")
    require_room(to.parent, needed, "preparing")
    with atomic_folder(to) as folder:
        yield folder
