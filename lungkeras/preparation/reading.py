"""Reads all scans of a source into one array, in threads, and finds those that are unreadable or have changed."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lungkeras.datasets.scans.arrays import file_of
from lungkeras.datasets.scans.opencv import cv2
from lungkeras.datasets.scans.workers import decoders
from lungkeras.preparation.scan import preparation_steps
from lungkeras.system.errors import ScanError, SourceError
from lungkeras.system.files import new_array
from lungkeras.system.progress import progress

if TYPE_CHECKING:
    from lungkeras.preparation.prints import Fingerprints

WAITING = 2048  # scans queued at a time


def decoded(
    dataset: str,
    source: Path,
    records: pd.DataFrame,
    before: list[tuple[int, int] | None],
    folder: Path,
    *,
    size: int,
    workers: int | None,
) -> tuple[np.ndarray, "Fingerprints", pd.Series]:
    """(images.npy in `folder`, fingerprints, why a scan could not be read, or None), row by row of the records.

    `before` holds the stamps of the files. Raises SourceError as `require_scans` does.
    """
    from lungkeras.preparation.prints import Fingerprints

    paths = [source / path for path in records["path"]]
    images = new_array(folder / "images.npy", (len(records), size, size))
    prints = Fingerprints.empty(len(records))
    reasons = pd.Series(fill(images, paths, workers, seen=prints.take))
    require_scans(dataset, source, paths, before, reasons)
    return images, prints, reasons


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
            "when the source is back, run the same command again"
        )
    if changed := [path for path, was, is_now, _ in pairs if is_now and was != is_now]:
        raise SourceError(
            f"{dataset}: {len(changed)} of {len(paths)} scans changed while they were read, such as {changed[0]}: when "
            "nothing writes to the source any more, run the same command again"
        )
    if reasons.notna().all():
        raise SourceError(
            f"{dataset}: none of {len(paths)} scans in {source} can be read (the first: {reasons[0]}): download the "
            "collection again, or name another source"
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
