"""One file -> one grey image of 8 bits, or one sentence that says why not.

A file is somebody else's: it is looked through before a decoder sees it. Decoders pass much in silence (a JPEG cut
short comes out with its lower part grey), read formats that no collection uses, and believe what a header claims.
"""

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The largest scan of the three collections has 9 megapixels; a file that claims more than this is a bomb.
MOST_PIXELS = 64_000_000
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))  # read once, at the import of cv2

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import simplejpeg  # noqa: E402

from lungkeras.errors import ScanError  # noqa: E402

MOST_BYTES = 256_000_000
MOST_METADATA = 8_000_000  # bytes of a PNG that are not pixels
MOST_JPEG_SCANS = 100  # a progressive JPEG has some 10; each costs a walk over all pixels
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
DICOM, DICOM_AT = b"DICM", 128  # behind a preamble that may hold anything
STARTS_WITHIN = DICOM_AT + len(DICOM)  # bytes of a file that tell its format
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # hold height and width
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # restart markers and their kin: two bytes, nothing behind


class Unreadable(ValueError):
    """Why the content of a file can't be decoded, in a few words that quote nothing of it."""


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
    return decode_jpeg(data) if data.startswith(JPEG) else _decode_by_opencv(data)


def decode_jpeg(data: bytes) -> np.ndarray:
    """A JPEG without a flaw as uint8 (height, width). Raises Unreadable where its coded data breaks off or overruns.

    OpenCV fills what is missing with grey and says nothing; the strict decoder gives the same pixels or an error.
    """
    try:
        colours = simplejpeg.decode_jpeg_header(data, strict=True)[2]
        if colours in ("CMYK", "YCCK"):
            simplejpeg.decode_jpeg(data, "CMYK", strict=True, min_height=1, min_width=1, min_factor=8)
            return _decode_by_opencv(data)
        image = simplejpeg.decode_jpeg(data, "GRAY", strict=True)[..., 0]
    except ValueError as error:
        if "insufficient memory" in str(error).lower():
            raise MemoryError(str(error)) from error
        raise Unreadable("damaged JPEG (its coded data is not whole)") from error
    # OpenCV alone turns an image as its EXIF orientation says; few are turned, so few are decoded twice.
    return _decode_by_opencv(data) if may_be_turned(data) else image


def may_be_turned(jpeg: bytes) -> bool:
    """Whether the EXIF block of a JPEG, if any, gives an orientation other than upright (EXIF 2.3, tag 0x0112)."""
    at = jpeg.find(b"Exif\0\0")
    if at < 0:
        return False
    block = jpeg[at + 6 : at + 6 + 65_536]
    order = "little" if block[:2] == b"II" else "big"
    first = int.from_bytes(block[4:8], order)
    for place in range(first + 2, first + 2 + 12 * int.from_bytes(block[first : first + 2], order), 12):
        if int.from_bytes(block[place : place + 2], order) == 0x0112:
            return int.from_bytes(block[place + 8 : place + 10], order) != 1
    return False


@contextmanager
def enough_memory() -> Iterator[None]:
    """Raises MemoryError for what OpenCV says where memory runs out, which is no fault of a scan."""
    try:
        yield
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(error.err) from error
        raise


def _decode_by_opencv(data: bytes) -> np.ndarray:
    try:
        with enough_memory():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise Unreadable("can not be decoded") from error
    if image is None or image.size == 0:
        raise Unreadable("can not be decoded")
    return cv2.convertScaleAbs(image, alpha=1 / 257) if image.dtype == np.uint16 else image


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
    if reason := _size_flaw(data[16:20], data[20:24]):
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


def _size_flaw(height: bytes, width: bytes) -> str | None:
    pixels = int.from_bytes(height) * int.from_bytes(width)
    return "no pixels" if pixels == 0 else "too many pixels" if pixels > MOST_PIXELS else None


def jpeg_flaw(data: bytes) -> str | None:
    """Walks the segments up to the end-of-image marker (ITU T.81, B.1); one in an embedded thumbnail does not count."""
    at, scans = 2, 0
    while at + 2 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF:
            return "damaged JPEG (a marker is missing)"
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == END_OF_IMAGE:
            return None if scans else "JPEG without an image"
        elif marker in WITHOUT_LENGTH:
            at += 2
        else:
            if marker in FRAMES and (reason := _size_flaw(data[at + 5 : at + 7], data[at + 7 : at + 9])):
                return reason
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
            if marker == START_OF_SCAN:
                scans, at = scans + 1, after_coded_data(data, at)
                if scans > MOST_JPEG_SCANS:
                    return f"JPEG in more than {MOST_JPEG_SCANS} scans"
    return "JPEG cut short"


def after_coded_data(data: bytes, at: int) -> int:
    """Where the next marker stands: within coded data a 0xFF is followed by 0 or by a restart marker."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2
    return len(data)
