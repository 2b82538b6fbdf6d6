"""Arrays that come from somebody's .npz files: plain numbers, as large as the file says and no larger."""

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from lungkeras.system.untrusted.archives import plain_zip

MOST_MEMBERS = 100_000
MOST_RATIO = 20  # of what is unpacked to what is there
ALWAYS_FIT = 10**8  # bytes that need no ratio
LONGEST_HEADER = 10_000  # bytes, as NumPy has it


def load(file: Path | str | IO[bytes], *, allow_pickle: bool = False) -> np.lib.npyio.NpzFile:
    """`np.load` of an .npz file whose arrays are looked through first: none is packed by another method than deflate,
    holds objects, or claims another size than it has.

    Raises ValueError, zipfile.BadZipFile or OSError.
    """
    if allow_pickle:
        raise ValueError("no array of lungkeras holds objects")
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


def _check(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    with archive.open(member) as content:
        version = np.lib.format.read_magic(content)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename[:80]!r} of it is an array of another version")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read_header(content, max_header_size=LONGEST_HEADER)
        size = content.tell() + math.prod(shape) * kind.itemsize
    if kind.hasobject or size != member.file_size:
        raise ValueError(f"{member.filename[:80]!r} of it is no array of {shape} {kind}")
