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

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.policies import unknown_labels
from lungkeras.datasets.scans.arrays import file_of
from lungkeras.datasets.scans.opencv import cv2
from lungkeras.datasets.scans.workers import decoders
from lungkeras.preparation.made_from import of_prepared, preparation_made_from
from lungkeras.preparation.scan import preparation_steps
from lungkeras.splits import SPLITS, split_what_is_there
from lungkeras.system import places
from lungkeras.system.errors import RunError, ScanError, SourceError
from lungkeras.system.files import atomic_folder, glance, new_array, require_room, write_csv, write_json, write_parquet
from lungkeras.system.locks import making
from lungkeras.system.progress import progress
from lungkeras.system.provenance import file_digest, read
from lungkeras.system.text import say

FILES = {*(f"{split}.npy" for split in SPLITS), "records.parquet", "statistics.json", "quarantine.csv", "flow.csv"}
FILES |= {"duplicates.csv", "boxes.parquet", "fingerprints.npz", "audit.json"}
COPIES = "left out as copies of test scans"
WAITING = 2048  # scans in line for a thread
BYTES_OF_A_PRINT = 17_000  # a row of fingerprints.npz and records.parquet


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

    A scan that can't be read is quarantined, and the rest continue. The folder appears whole: until then an earlier one
    stays as it was. If another process prepares it, this one waits, and uses that result if it is the same. The same
    source, size and seed give the same bytes whatever `workers` is (None: one per processor). Meanwhile the disk holds
    the arrays twice; memory holds 17 kB per scan, and never an array.

    With `split="official"` the test split is the published one, as for xray8. Train and val are drawn from the rest,
    without copies of test scans, which are left out and counted. Collections without a published test split are split
    as usual. `votes` is that of `read_records`. With `split="given"` a collection of one's own is split as given for
    each scan, even if that splits patients.

    Returns the content of statistics.json: dataset, task, classes, size, mean and std (grey levels in [0, 255] of the
    training split), scans (per split), votes (None if readers are unknown), missing (classes that a split lacks),
    unknown ({uncertain, blank: {class: scans}}: unknown labels, for a run's policy to decide), quarantined, left_out,
    absent, duplicates (pairs, the scans in them, the patients they join), made_from, files (SHA-256 of each),
    fingerprint. Raises SourceError if the source is not of this dataset, no scan of a class is readable, there are too
    few for three splits, or scans vanish or change while they are read; RunError if `to` holds something else;
    FolderError if it can't be written or its disk is too small.
    """
    from lungkeras.datasets.boxes import read_boxes
    from lungkeras.datasets.drawn import is_drawn
    from lungkeras.datasets.registry import known_dataset, read_records
    from lungkeras.preparation.duplicates import copies_of, find_duplicates, join_patients
    from lungkeras.preparation.prints import Fingerprints
    from lungkeras.splits import given_split, official_split

    source, to = Path(source), Path(to)
    records = read_records(dataset, source, require_files=True, seed=seed, votes=votes)
    flow, kinds, absent = records.attrs["flow"], records.attrs["kinds"], records.attrs["absent"]
    paths = [source / path for path in records["path"]]
    before = [stamp(file_of(path)) for path in paths]
    made_from = preparation_made_from(dataset, source, size=size, seed=seed, split=split, votes=votes, records=records)
    with making(to) as lock:
        if lock.waited and (made := read(to / "statistics.json")).get("made_from") == made_from:
            return made
        with replaced_folder(to, needed=len(records) * (2 * size**2 + BYTES_OF_A_PRINT)) as folder:
            images = new_array(folder / "images.npy", (len(records), size, size))
            prints = Fingerprints.empty(len(records))
            reasons = pd.Series(fill(images, paths, workers, seen=prints.take))
            require_scans(dataset, source, paths, before, reasons)
            quarantine = quarantined(records, reasons, known_dataset(dataset).classes)

            pairs = find_duplicates(prints, records["scan"], records["patient"])
            records = records[reasons.isna()]
            records = records.assign(group=join_patients(records, pairs))
            known = known_dataset(dataset)
            official = split == "official" and known.official_test is not None
            left_out = 0
            if official:
                listed = set(known_dataset(dataset).official_test(source))
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
            records = in_split_order(records)
            for name in SPLITS:
                write_rows(folder / f"{name}.npy", images, records.index[records["split"] == name])
            del images
            (folder / "images.npy").unlink()

            write_parquet(folder / "records.parquet", records)
            write_parquet(folder / "boxes.parquet", read_boxes(dataset, source, records))
            write_csv(folder / "quarantine.csv", quarantine)
            write_csv(folder / "duplicates.csv", pairs)
            prints.save(folder / "fingerprints.npz", records.index.to_numpy())
            flow = [*flow, ["quarantined", len(quarantine)]]
            flow += [[COPIES, left_out]] if left_out else []
            steps = pd.DataFrame([*flow, ["prepared", len(records)]], columns=["step", "scans"])
            kinds = kinds | {COPIES: "left out"}
            write_csv(folder / "flow.csv", steps.assign(kind=steps["step"].map(kinds).fillna("")))
            mean, std = grey_statistics(np.load(folder / "train.npy", mmap_mode="r"))
            summary = {
                "dataset": dataset,
                "source": places.told(source),
                "drawn": is_drawn(source),
                "task": known_dataset(dataset).task,
                "classes": list(known_dataset(dataset).classes),
                "size": size,
                "mean": mean,
                "std": std,
                "scans": {name: int((records["split"] == name).sum()) for name in SPLITS},
                "split": "patients" if split == "official" and not official else split,
                "votes": (votes or known.votes[0]) if known.votes else None,
                "missing": missing_classes(records, known.classes),
                "unknown": unknown_labels(records, known.classes),
                "quarantined": len(quarantine),
                "left_out": left_out,
                "absent": absent,
                "made_from": made_from,
                "duplicates": {
                    "pairs": len(pairs),
                    "scans": int(pd.concat([pairs["scan"], pairs["other"]]).nunique()),
                    "patients": int(records.loc[records["group"] != records["patient"], "patient"].nunique()),
                },
                "files": {file.name: file_digest(file) for file in sorted(folder.iterdir())},
            }
            write_json(folder / "statistics.json", summary)
            summary["fingerprint"] = of_prepared(folder)
            write_json(folder / "statistics.json", summary)
    places.remember(source)
    return summary


def stamp(file: Path) -> tuple[int, int] | None:
    """Time of change in nanoseconds and size of a file, or of a link that leads nowhere; None if there is none."""
    try:
        about = file.stat() if file.exists() else file.lstat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size


def require_scans(
    dataset: str, source: Path, paths: list[Path], before: list[tuple[int, int] | None], reasons: pd.Series
) -> None:
    """Raises SourceError if no scan could be read, or one has vanished or changed since `before`, their stamps."""
    now = [stamp(file_of(path)) for path in paths]
    pairs = list(zip(paths, before, now, reasons, strict=True))
    if vanished := [path for path, was, is_now, reason in pairs if was and not is_now and reason]:
        raise SourceError(
            f"{dataset}: {len(vanished)} of {len(paths)} scans vanished while they were read, such as {vanished[0]}: "
            "when the source is there again, give the same command again"
        )
    if changed := [path for path, was, is_now, _ in pairs if is_now and was != is_now]:
        raise SourceError(
            f"{dataset}: {len(changed)} of {len(paths)} scans changed while they were read, such as {changed[0]}: when "
            "nothing writes to the source any more, give the same command again"
        )
    if reasons.notna().all():
        raise SourceError(
            f"{dataset}: none of {len(paths)} scans in {source} can be read (the first: {reasons[0]}): fetch the "
            "collection anew, or name another source"
        )


def quarantined(records: pd.DataFrame, reasons: pd.Series, classes: tuple[str, ...]) -> pd.DataFrame:
    """The records that can't be read: scan, reason, and their classes, separated by spaces."""
    lost = records[reasons.notna()]
    labels = [" ".join(name for name in classes if row[name] == 1) for _, row in lost.iterrows()]
    return pd.DataFrame({"scan": lost["scan"], "reason": reasons[lost.index], "classes": labels})


def fill(
    images: np.ndarray,
    paths: list[Path],
    workers: int | None = None,
    *,
    seen: Callable[[int, np.ndarray], None] | None = None,
) -> list[str | None]:
    """Prepares each path into its row of `images`, in threads (OpenCV releases Python's lock while it works).

    Files are decoded in separate processes; a file that crashes a decoder counts as unreadable. `seen` is called with
    the row and the decoded scan. Returns for each path the reason why it could not be read, else None; a row that was
    not read is unchanged.
    """
    size = images.shape[1]

    def prepare(row: int) -> str | None:
        try:
            steps = preparation_steps(paths[row], size, decode)
        except ScanError as error:
            return str(error).removeprefix(f"{paths[row]}: ")
        images[row] = steps["resized"]
        if seen:
            seen(row, steps["original"])
        return None

    threads, workers = cv2.getNumThreads(), workers or os.cpu_count()
    with decoders(workers) as decode:
        pool = ThreadPoolExecutor(workers)
        cv2.setNumThreads(1)  # one scan per thread is faster than many threads per scan
        try:
            # Queued scans take memory, so not all are queued at once.
            blocks = (range(row, min(row + WAITING, len(paths))) for row in range(0, len(paths), WAITING))
            done = itertools.chain.from_iterable(pool.map(prepare, block) for block in blocks)
            return list(progress(done, total=len(paths), description="preparing scans"))
        finally:
            pool.shutdown(cancel_futures=True)
            cv2.setNumThreads(threads)


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
        raise RunError(f"{to} is no prepared dataset, and is left as it is: it holds {glance(to)}. Give a new folder.")
    require_room(to.parent, needed, "preparing")
    with atomic_folder(to) as folder:
        yield folder
