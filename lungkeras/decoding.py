"""One file -> one grey image of 8 bits, or one sentence that says why not.

OpenCV decodes; what it lets pass in silence is looked for first: a JPEG cut short comes out of it with its lower part
grey, and it reads formats that none of the collections uses.
"""

import zlib
from pathlib import Path

import cv2
import numpy as np

from lungkeras.errors import ScanError

# The largest scan of the three collections has 9 megapixels; a file that claims more than this is a bomb.
MOST_PIXELS = 64_000_000
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # hold height and width
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # restart markers and their kin: two bytes, nothing behind


def decode_grey(path: Path | str) -> np.ndarray:
    """Reads a PNG or a JPEG, known by its first bytes and not by its name, as a grey image.

    Returns uint8 of shape (height, width) in [0, 255]. Colour becomes its luma (0.299 R + 0.587 G + 0.114 B), alpha is
    left out, a palette is looked up. 16 bits become 8 by the full range, value / 257 rounded, so that 65,535 is white.
    An EXIF orientation is respected: the image is turned as a viewer would show it.

    Raises ScanError, naming the file and the reason, where it can't be opened, is empty, cut short, damaged, larger
    than 64 megapixels, or neither PNG nor JPEG.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScanError(f"{path}: can't be read ({error.strerror})") from error
    reason = flaw(data)
    if reason:
        raise ScanError(f"{path}: {reason}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ScanError(f"{path}: can not be decoded") from error
    if image is None or image.size == 0:
        raise ScanError(f"{path}: can not be decoded")
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return image


def flaw(data: bytes) -> str | None:
    """What keeps the bytes of a file from being a whole PNG or JPEG, in a few words; None if nothing does."""
    if not data:
        return "empty file"
    if data.startswith(PNG):
        return png_flaw(data)
    if data.startswith(JPEG):
        return jpeg_flaw(data)
    return "neither PNG nor JPEG"


def png_flaw(data: bytes) -> str | None:
    """Walks the chunks up to IEND: each is length, type, content, checksum (PNG specification, 5.3)."""
    start = len(PNG)
    if int.from_bytes(data[16:20]) * int.from_bytes(data[20:24]) > MOST_PIXELS:
        return "too many pixels"
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if end > len(data):
            break
        kind = data[start + 4 : start + 8]
        if zlib.crc32(memoryview(data)[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return "damaged PNG (a checksum does not match)"
        if kind == b"IEND":
            return None
        start = end
    return "PNG cut short"


def jpeg_flaw(data: bytes) -> str | None:
    """Walks the segments up to the end-of-image marker (ITU T.81, B.1); one in an embedded thumbnail does not count."""
    at, scanned = 2, False
    while at + 2 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF:
            return "damaged JPEG (a marker is missing)"
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == END_OF_IMAGE:
            return None if scanned else "JPEG without an image"
        elif marker in WITHOUT_LENGTH:
            at += 2
        else:
            if (
                marker in FRAMES
                and int.from_bytes(data[at + 5 : at + 7]) * int.from_bytes(data[at + 7 : at + 9]) > MOST_PIXELS
            ):
                return "too many pixels"
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
            if marker == START_OF_SCAN:
                scanned, at = True, after_coded_data(data, at)
    return "JPEG cut short"


def after_coded_data(data: bytes, at: int) -> int:
    """Where the next marker stands: within coded data a 0xFF is followed by 0 or by a restart marker."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2
    return len(data)
