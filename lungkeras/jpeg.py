"""JPEG files, and JPEG frames of DICOM files -> grey images, whole or not at all."""

import numpy as np
import simplejpeg

from lungkeras.opencv import Unreadable, decode_by_opencv, size_flaw

MOST_JPEG_SCANS = 100  # a progressive JPEG has some 10; each costs a walk over all pixels
JPEG = b"\xff\xd8\xff"
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # hold height and width
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # restart markers and their kin: two bytes, nothing behind


def decode_jpeg(data: bytes) -> np.ndarray:
    """A JPEG without a flaw as uint8 (height, width). Raises Unreadable where its coded data breaks off or overruns.

    OpenCV fills what is missing with grey and says nothing; the strict decoder gives the same pixels or an error.
    """
    try:
        colours = simplejpeg.decode_jpeg_header(data, strict=True)[2]
        if colours in ("CMYK", "YCCK"):
            simplejpeg.decode_jpeg(data, "CMYK", strict=True, min_height=1, min_width=1, min_factor=8)
            return decode_by_opencv(data)
        image = simplejpeg.decode_jpeg(data, "GRAY", strict=True)[..., 0]
    except ValueError as error:
        if "insufficient memory" in str(error).lower():
            raise MemoryError(str(error)) from error
        raise Unreadable("damaged JPEG (its coded data is not whole)") from error
    # OpenCV alone turns an image as its EXIF orientation says; few are turned, so few are decoded twice.
    return decode_by_opencv(data) if may_be_turned(data) else image


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
            if marker in FRAMES and (reason := size_flaw(data[at + 5 : at + 7], data[at + 7 : at + 9])):
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
