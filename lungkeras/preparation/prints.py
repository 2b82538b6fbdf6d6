"""Fingerprints of scans for the audit: enough to find copies and to probe grey levels, in 16 kB each."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from lungkeras.datasets.scans.opencv import cv2
from lungkeras.datasets.scans.workers import decoders
from lungkeras.preparation.alignment import SIDE, half
from lungkeras.system.errors import ScanError
from lungkeras.system.files import atomic
from lungkeras.system.progress import progress
from lungkeras.system.untrusted import array_files

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of N scans, one row per scan.

    digests     bytes (N, 16): of shape and decoded pixels, so that the same pixels in another file are the same
    pictures    uint8 (N, 128, 128): the scan as decoded, areas averaged
    shapes      int32 (N, 2): height and width in pixels
    read        bool (N,): False where the file can't be read; its row is 0
    """

    digests: np.ndarray
    pictures: np.ndarray
    shapes: np.ndarray
    read: np.ndarray

    @classmethod
    def empty(cls, scans: int) -> Fingerprints:
        return cls(
            np.zeros((scans, 16), np.uint8),
            np.zeros((scans, SIDE, SIDE), np.uint8),
            np.zeros((scans, 2), np.int32),
            np.zeros(scans, bool),
        )

    def __len__(self) -> int:
        return len(self.read)

    def __getitem__(self, rows) -> Fingerprints:
        return Fingerprints(*(array[rows] for array in self.arrays()))

    def arrays(self) -> list[np.ndarray]:
        return [getattr(self, field.name) for field in fields(self)]

    @property
    def thumbnails(self) -> np.ndarray:
        """uint8 (N, 64, 64): the pictures at half their size."""
        return np.stack([half(picture) for picture in self.pictures]) if len(self) else self.pictures[:, ::2, ::2]

    def take(self, row: int, image: np.ndarray) -> None:
        """Fills a row from a decoded scan, uint8 (height, width)."""
        shape = np.array(image.shape, np.int32)
        digest = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16, key=shape.tobytes())
        self.digests[row] = np.frombuffer(digest.digest(), np.uint8)
        self.pictures[row] = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        self.shapes[row] = shape
        self.read[row] = True

    def save(self, path: Path | str, rows: np.ndarray) -> None:
        """Writes these rows as .npz, some at a time: the reordered pictures would take as much memory again."""
        with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
            for field in fields(self):
                array = getattr(self, field.name)
                header = {"descr": array.dtype.str, "fortran_order": False, "shape": (len(rows), *array.shape[1:])}
                with file.open(f"{field.name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    for start in range(0, len(rows), ROWS_AT_ONCE):
                        member.write(array[rows[start : start + ROWS_AT_ONCE]].tobytes())


def load_fingerprints(path: Path | str) -> Fingerprints:
    with array_files.load(path, allow_pickle=False) as held:
        return Fingerprints(*(held[field.name] for field in fields(Fingerprints)))


def take_fingerprints(paths: Sequence[Path], *, workers: int | None = None) -> Fingerprints:
    """Reads the scans with this many workers (None: one per processor); an unreadable one leaves its row empty."""
    prints, workers = Fingerprints.empty(len(paths)), workers or os.cpu_count()

    def take(row: int) -> None:
        with contextlib.suppress(ScanError):
            prints.take(row, decode(paths[row]))

    with decoders(workers) as decode, ThreadPoolExecutor(workers) as pool:
        for _ in progress(pool.map(take, range(len(paths))), total=len(paths), description="looking at scans"):
            pass
    return prints
