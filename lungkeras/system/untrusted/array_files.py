"""Arrays from untrusted .npz files: plain numbers, of the size the file claims."""

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from lungkeras.system.untrusted.archives import plain_zip

MOST_MEMBERS = 100_000
MOST_RATIO = 20  # of unpacked size to packed size
ALWAYS_FIT = 10**8  # bytes below which the ratio is not checked
LONGEST_HEADER = 10_000  # bytes, as NumPy has it


def load(file: Path | str | IO[bytes], *, allow_pickle: bool = False) -> np.lib.npyio.NpzFile:
    """`np.load` of an .npz file whose arrays are checked first: each is packed by deflate, holds no objects, and has
    the size it claims.

    Raises ValueError, zipfile.BadZipFile or OSError.
    """
    if allow_pickle:
        raise ValueError("it holds Python objects, which no array of lungkeras does")
    with plain_zip(file) as archive:
        if len(archive.infolist()) > MOST_MEMBERS:
            raise ValueError(f"it holds more than {MOST_MEMBERS:,} arrays")
        size = sum(member.file_size for member in archive.infolist())
        if size > max(ALWAYS_FIT, MOST_RATIO * sum(member.compress_size for member in archive.infolist())):
            raise ValueError(f"its few bytes claim to be {size:,}")
        for member in archive.infolist():
            _check(archive, member)
    if hasattr(file, "seek"):
        file.seek(0)
    return np.load(file, allow_pickle=False)


class Rows:
    """One array of an .npz file, read a few rows at a time, if it is too large for memory.

    `shape` and `dtype` are those of the array. To read a block before the last one, inflation starts again from the
    beginning. Raises what `load` does, and KeyError where the file has no such array.
    """

    def __init__(self, file: Path | str, name: str) -> None:
        with plain_zip(file) as archive:
            member = archive.getinfo(f"{name}.npy")
            self.shape, columns_first, self.dtype, self.start = _check(archive, member)
        if columns_first or not self.shape:
            raise ValueError(f"the rows of {name[:80]!r} do not lie one after another")
        self.archive = zipfile.ZipFile(file)
        self.content = self.archive.open(member)

    def read(self, first: int, count: int) -> np.ndarray:
        """This many rows from the first one, fewer at the end of the array. Raises EOFError if it is truncated."""
        count = max(0, min(count, self.shape[0] - first))
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        self.content.seek(self.start + first * size)
        data = self.content.read(count * size)
        if len(data) < count * size:
            raise EOFError
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])


def _check(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """(shape, whether columns lie together, type, bytes before the values) of an array.

    Raises ValueError if it is not as large as it claims.
    """
    with archive.open(member) as content:
        version = np.lib.format.read_magic(content)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename[:80]!r} of it is an array of another version")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, columns_first, kind = read_header(content, max_header_size=LONGEST_HEADER)
        start = content.tell()
    if kind.hasobject or start + math.prod(shape) * kind.itemsize != member.file_size:
        raise ValueError(f"{member.filename[:80]!r} in it is not an array of {shape} {kind}")
    return shape, columns_first, kind, start
