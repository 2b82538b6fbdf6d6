"""Scans that are rows of an array in an .npz file, as those of MedMNIST are: FILE.npz::ARRAY/ROW names one.

Such a name can be used in place of the path of a scan. A packed array has no random access, so it is inflated in
blocks, in order, and a few blocks are cached: reading row after row inflates it once, and takes megabytes of memory,
however large the array.
"""

import functools
import re
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np

from lungkeras.datasets.scans.opencv import MOST_PIXELS, Unreadable
from lungkeras.system.untrusted.array_files import Rows

NAMED = re.compile(r"(?P<file>.+\.npz)::(?P<array>[^/\\:]+)/(?P<row>\d{1,9})", re.DOTALL)
BLOCK = 1 << 22  # bytes that are kept at once
AT_ONCE = threading.Lock()


def name_of(file: str, array: str, row: int) -> str:
    """
    >>> name_of("medmnist/chestmnist.npz", "train_images", 12)
    'medmnist/chestmnist.npz::train_images/000012'
    """
    return f"{file}::{array}/{row:06}"


def file_of(path: Path | str) -> Path:
    """The file whose bytes hold a scan: the path itself, or the .npz file of the named row."""
    named = NAMED.fullmatch(str(path))
    return Path(named["file"]) if named else Path(path)


def is_row(path: Path | str) -> bool:
    """Whether a path names a row of an array."""
    return NAMED.fullmatch(str(path)) is not None


def decode_row(path: Path | str) -> np.ndarray:
    """The row as a grey image, uint8 (height, width). Raises OSError, or Unreadable with the reason."""
    named = NAMED.fullmatch(str(path))
    file, array, row = Path(named["file"]), named["array"], int(named["row"])
    about = file.stat()
    try:
        with AT_ONCE:  # a stream has one place
            rows = _rows(file, array, about.st_mtime_ns, about.st_size)
            height, width = _shape(rows)
            if row >= rows.shape[0]:
                raise Unreadable(f"{array} has {rows.shape[0]:,} rows")
            in_block = max(1, BLOCK // (height * width))
            block = _block(rows, row // in_block, in_block)
            return block[row % in_block].copy()
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"no array {array} of scans can be read from it") from error


def _shape(rows: Rows) -> tuple[int, int]:
    if rows.dtype != np.uint8 or len(rows.shape) != 3:
        raise Unreadable(f"an array of {rows.dtype} {rows.shape}, expected uint8 (scans, height, width)")
    if not 0 < rows.shape[1] * rows.shape[2] <= MOST_PIXELS:
        raise Unreadable("scans without pixels, or with too many")
    return rows.shape[1:]


@functools.lru_cache(maxsize=4)
def _rows(file: Path, array: str, *changed: int) -> Rows:
    return Rows(file, array)


@functools.lru_cache(maxsize=8)
def _block(rows: Rows, number: int, in_block: int) -> np.ndarray:
    return rows.read(number * in_block, in_block)
