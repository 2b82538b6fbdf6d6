"""One file -> one grey image of 8 bits, or one sentence that says why not.

A file is somebody else's: it is looked through before a decoder sees it. Decoders pass much in silence (a JPEG cut
short comes out with its lower part grey), read formats that no collection uses, and believe what a header claims.
"""

import stat
import zlib
from pathlib import Path

import numpy as np

from lungkeras.errors import ScanError
from lungkeras.jpeg import JPEG, decode_jpeg, jpeg_flaw
from lungkeras.opencv import Unreadable, decode_by_opencv, size_flaw

MOST_BYTES = 256_000_000
MOST_METADATA = 8_000_000  # bytes of a PNG that are not pixels
PNG = b"\x89PNG\r\n\x1a\n"
DICOM, DICOM_AT = b"DICM", 128  # behind a preamble that may hold anything
STARTS_WITHIN = DICOM_AT + len(DICOM)  # bytes of a file that tell its format


def is_scan(start: bytes) -> bool:
    """Whether a file with these first bytes is a PNG, a JPEG or a DICOM file, whatever its name."""
    return start.startswith((PNG, JPEG)) or start[DICOM_AT:].startswith(DICOM)


def decode_grey(path: Path | str) -> np.ndarray:
    """Reads a PNG, a JPEG or a DICOM file, known by its first bytes and not by its name, as a grey image.

    Returns uint8 of shape (height, width) in [0, 255]. Colour becomes its luma (0.299 R + 0.587 G + 0.114 B), alpha is
    left out, a palette is looked up. 16 bits become 8 by the full range, value / 257 rounded, so that 65,535 is white.
    An EXIF orientation is respected: the image is turned as a viewer would show it. For DICOM see lungkeras.dicom.

    Raises ScanError, naming the file and the reason, where it can't be opened, is empty, cut short, damaged, larger
    than 64 megapixels, or none of the three.
    """
    path = Path(path)
    try:
        return decode(_content(path))
    except OSError as error:
        raise ScanError(f"{path}: can't be read ({error.strerror})") from error
    except Unreadable as error:
        raise ScanError(f"{path}: {error}") from error


def _content(path: Path) -> bytes:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # a pipe would wait, a device would never end
        raise Unreadable("can't be read (not a plain file)")
    if about.st_size > MOST_BYTES:
        raise Unreadable(f"larger than {MOST_BYTES // 1_000_000} MB")
    return path.read_bytes()


def decode(data: bytes) -> np.ndarray:
    """`decode_grey` of a file's content. Raises Unreadable with the reason."""
    if data[DICOM_AT:STARTS_WITHIN] == DICOM:
        from lungkeras.dicom import decode_dicom

        return decode_dicom(data)
    if reason := flaw(data):
        raise Unreadable(reason)
    return decode_jpeg(data) if data.startswith(JPEG) else decode_by_opencv(data)


def flaw(data: bytes) -> str | None:
    """What keeps the bytes of a file from being a whole PNG or JPEG, in a few words; None if nothing does."""
    if not data:
        return "empty file"
    if data.startswith(PNG):
        return png_flaw(data)
    if data.startswith(JPEG):
        return jpeg_flaw(data)
    return "neither PNG, JPEG nor DICOM"


def png_flaw(data: bytes) -> str | None:
    """Walks the chunks up to IEND: each is length, type, content, checksum (PNG specification, 5.3)."""
    start, metadata = len(PNG), 0
    if len(data) < 24:
        return "PNG cut short"
    if reason := size_flaw(data[16:20], data[20:24]):
        return reason
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if end > len(data):
            break
        kind = data[start + 4 : start + 8]
        if zlib.crc32(memoryview(data)[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return "damaged PNG (a checksum does not match)"
        if kind == b"IEND":
            return None
        if kind != b"IDAT" and (metadata := metadata + end - start) > MOST_METADATA:
            return f"more than {MOST_METADATA // 1_000_000} MB of metadata"
        start = end
    return "PNG cut short"
