"""JPEG files, and JPEG frames of DICOM files -> grey images, whole or not at all."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg

from lungkeras.datasets.scans.opencv import MOST_PIXELS, Unreadable, cv2, decode_by_opencv, size_flaw

MOST_JPEG_SCANS = 100  # a progressive JPEG has some 10; each costs a walk over all pixels
JPEG = b"\xff\xd8\xff"
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, JPEG_LS = 0xC0, 0xC1, 0xC2, 0xC3, 0xF7
ARITHMETIC, LOSSLESS_ARITHMETIC = (0xC9, 0xCA), 0xCB
HIERARCHICAL = (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE)
FRAMES = {
    BASELINE,
    EXTENDED,
    PROGRESSIVE,
    LOSSLESS,
    JPEG_LS,
    *ARITHMETIC,
    LOSSLESS_ARITHMETIC,
    *HIERARCHICAL,
}  # hold height and width
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # restart markers and their kin: two bytes, nothing behind
RESTART = re.compile(rb"\xff[\xd0-\xd7]")
# Warnings of libjpeg that affect no pixel: extra bytes after the coded data, and odd file metadata.
HARMLESS = (
    "extraneous bytes before marker",
    "unknown JFIF revision",
    "Adobe color transform",
    "Invalid SOS parameters",
)
AS_STORED = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
MOST_DOUBTFUL = 256  # pixels, four blocks: some encoders leave out the last bits before a restart
FILLER = bytes(range(1, 255)) * 2
EXTRA = "which is read with lungkeras's extra dicom alone (pip install -e '.[dicom]')"


def decode_jpeg(data: bytes) -> np.ndarray:
    """An intact JPEG as uint8 (height, width). Raises Unreadable if its coded data is incomplete.

    More than 8 bits per sample are scaled to 8 by their full range. OpenCV silently fills missing data with grey; the
    strict decoder gives the same pixels or an error. Bytes that no pixel needs are ignored.
    """
    if not is_usual(data):
        pixels, bits = decode_samples(data)
        return cv2.convertScaleAbs(pixels, alpha=255 / ((1 << bits) - 1))
    try:
        height, width, colours = simplejpeg.decode_jpeg_header(data, strict=False)[:3]
        if height * width > MOST_PIXELS:
            raise Unreadable("too many pixels")
        cmyk = colours in ("CMYK", "YCCK")
        image = _by_libjpeg(data, "CMYK" if cmyk else "GRAY")[..., 0]
    except ValueError as error:
        if isinstance(error, Unreadable):
            raise
        if "insufficient memory" in str(error).lower():
            raise MemoryError(str(error)) from error
        if "not supported" in str(error) or "not implemented" in str(error):
            raise Unreadable("JPEG of a kind that is not read; convert it to PNG") from error
        raise Unreadable("damaged JPEG (its coded data is incomplete)") from error
    # Only OpenCV applies the EXIF orientation; few images are rotated, so few are decoded twice.
    return decode_by_opencv(data) if cmyk or may_be_turned(data) else image


def _by_libjpeg(data: bytes, colours: str) -> np.ndarray:
    """Raises ValueError with the first warning of libjpeg."""
    sizes = {"min_height": 1, "min_width": 1, "min_factor": 8} if colours == "CMYK" else {}
    try:
        return simplejpeg.decode_jpeg(data, colours, strict=True, **sizes)
    except ValueError as error:
        if not any(words in str(error) for words in HARMLESS):
            raise
        image = decode_by_opencv(data, AS_STORED)  # which goes on whatever the warning
        # If coded data is incomplete, the bytes that follow are decoded as pixels; if it is complete, they are not.
        short = image != decode_by_opencv(_filled(data), AS_STORED)
        if np.count_nonzero(short) > MOST_DOUBTFUL:
            raise
        return image[..., None]


def _filled(data: bytes) -> bytes:
    """The file with other bytes behind each run of coded data."""
    parts, start = [], 0
    for at in _ends_of_coded_data(data):
        parts += [data[start:at], FILLER]
        start = at
    return b"".join([*parts, data[start:]])


def is_usual(data: bytes) -> bool:
    """Whether a JPEG is what all decoders read: cosine-transformed samples of 8 bits."""
    frame = frame_of(data)
    return frame.bits == 8 and frame.marker in (BASELINE, EXTENDED, PROGRESSIVE, *ARITHMETIC)


class Frame(NamedTuple):
    """The header of a JPEG's frame; bits per sample, samples per pixel."""

    marker: int
    bits: int
    shape: tuple[int, int]
    samples: int


def frame_of(data: bytes) -> Frame:
    """The frame of a JPEG without a flaw."""
    for marker, at in _segments(data):
        if marker in FRAMES:
            height, width = (int.from_bytes(data[at + place : at + place + 2]) for place in (5, 7))
            return Frame(marker, data[at + 4], (height, width), data[at + 9])
    raise Unreadable("JPEG without an image")


def with_colours(data: bytes, rgb: bool) -> bytes:
    """The JPEG with a marker that says whether its samples are red, green and blue, if it had none."""
    if not rgb or is_rgb(data) or any(marker in (0xE0, 0xEE) for marker, _ in _segments(data)):
        return data
    return data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + data[2:]


def decode_samples(data: bytes) -> tuple[np.ndarray, int]:
    """The grey samples of a lossless JPEG, a JPEG-LS or one of more than 8 bits, as they are, and their bits.

    Returns uint8 or uint16 of shape (height, width). Raises Unreadable.
    """
    marker, bits, _, samples = frame_of(data)
    if samples not in (1, 3):
        raise Unreadable(f"JPEG of {samples} samples a pixel, expected 1 or 3")
    pixels = _by_charls(data) if marker == JPEG_LS else _by_reference_libjpeg(data)
    if pixels.ndim == 3 and not is_rgb(data):
        pixels = np.ascontiguousarray(pixels[..., 0])
    return (cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels), bits


def may_be_turned(jpeg: bytes) -> bool:
    """Whether the EXIF block of a JPEG, if any, gives an orientation other than upright (EXIF 2.3, tag 0x0112)."""
    at = jpeg.find(b"Exif\0\0")
    if at < 0:
        return False
    block = jpeg[at + 6 : at + 6 + 65_536]
    order = "little" if block[:2] == b"II" else "big"
    first = int.from_bytes(block[4:8], order)
    for place in range(first + 2, first + 2 + 12 * int.from_bytes(block[first : first + 2], order), 12):
        tag, kind = (int.from_bytes(block[at : at + 2], order) for at in (place, place + 2))
        if tag == 0x0112 and kind == 3 and int.from_bytes(block[place + 4 : place + 8], order) == 1:  # one short number
            return int.from_bytes(block[place + 8 : place + 10], order) != 1
    return False


def _by_charls(data: bytes) -> np.ndarray:
    """Raises Unreadable, also if coded data is missing or left over."""
    try:
        import jpeg_ls
    except ImportError as error:
        raise Unreadable(f"JPEG-LS, {EXTRA}") from error
    try:
        pixels, found = jpeg_ls.decode_buffer(data)
    except (RuntimeError, ValueError) as error:
        raise Unreadable("damaged JPEG-LS (its coded data is incomplete)") from error
    pixels = np.frombuffer(pixels, np.uint8 if found["bits_per_sample"] <= 8 else "<u2")
    if found["components"] > 1 and found["interleave_mode"] == 0:
        return np.dstack(pixels.reshape(found["components"], found["height"], found["width"]))
    return pixels.reshape(found["height"], found["width"], *[found["components"]][: found["components"] > 1])


def _by_reference_libjpeg(data: bytes) -> np.ndarray:
    """By the reference software of ISO 18477, which reads what libjpeg-turbo, as OpenCV has it, does not."""
    try:
        import libjpeg
    except ImportError as error:
        marker, bits, *_ = frame_of(data)
        what = "a lossless JPEG" if marker == LOSSLESS else f"a JPEG of {bits} bits a sample"
        raise Unreadable(f"{what}, {EXTRA}") from error
    data = _with_usual_scans(data)
    try:
        pixels = libjpeg.decode(data)
        whole = np.array_equal(pixels, libjpeg.decode(_filled(data)))  # it silently fills missing data
    except (RuntimeError, ValueError) as error:
        raise Unreadable("damaged JPEG (it can't be decoded)") from error
    if not whole:
        raise Unreadable("damaged JPEG (its coded data is incomplete)")
    return pixels


def _with_usual_scans(data: bytes) -> bytes:
    """A sequential JPEG whose scans are declared to hold all frequencies, as they do; some encoders leave this out."""
    if frame_of(data)[0] not in (BASELINE, EXTENDED):
        return data
    data = bytearray(data)
    for marker, at in _segments(bytes(data)):
        if marker == START_OF_SCAN:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
            data[end - 3 : end] = bytes([0, 63, 0])
    return bytes(data)


def is_rgb(data: bytes) -> bool:
    """Whether the three samples are red, green and blue, and not luma and chroma, by libjpeg's rules and JPEG-LS's."""
    jfif, adobe, kind, names = False, None, None, b""
    for marker, at in _segments(data):
        content = data[at + 4 : at + 2 + int.from_bytes(data[at + 2 : at + 4])]
        if marker == 0xE0 and content.startswith(b"JFIF"):
            jfif = True
        elif marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12:
            adobe = content[11]
        elif marker in FRAMES:
            kind, names = marker, content[6::3]
    if jfif:
        return False
    if adobe is not None:
        return adobe == 0
    return names in (b"RGB", b"rgb") or kind in (LOSSLESS, JPEG_LS)


def jpeg_flaw(data: bytes) -> str | None:
    """Why bytes are not a complete JPEG that can be read here, in a few words; None if they are.

    Walks the segments up to the end-of-image marker (ITU T.81, B.1); one in an embedded thumbnail does not count.
    """
    scans = 0
    for marker, at in _segments(data):
        if marker == END_OF_IMAGE:
            return None if scans else "JPEG without an image"
        if marker in HIERARCHICAL:
            return "hierarchical JPEG, which is not read; convert it to PNG"
        if marker == LOSSLESS_ARITHMETIC:
            return "lossless JPEG of an arithmetic code, which is not read; convert it to PNG"
        if marker in FRAMES and (reason := size_flaw(data[at + 5 : at + 7], data[at + 7 : at + 9])):
            return reason
        if marker == START_OF_SCAN and (scans := scans + 1) > MOST_JPEG_SCANS:
            return f"JPEG in more than {MOST_JPEG_SCANS} scans"
    return "JPEG cut short"


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, position) of each segment after the first marker, through the end of the image.

    Bytes between segments are skipped, as in libjpeg.
    """
    at, least = 2, 0
    while at >= 0 and at + 2 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0:
            at = data.find(b"\xff", at + 1)
        elif marker == 0xFF:  # a fill byte
            at += 1
        elif marker in WITHOUT_LENGTH:
            at += 2
        else:
            yield marker, at
            if marker == END_OF_IMAGE:
                return
            if marker == JPEG_LS:
                least = 0x7F
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
            if marker == START_OF_SCAN:
                at = after_coded_data(data, at, least)


def _ends_of_coded_data(data: bytes) -> Iterator[int]:
    """Where each run of coded data ends: at a restart marker, or at that of the next segment."""
    for marker, at in _segments(data):
        if marker == START_OF_SCAN:
            start = at + 2 + int.from_bytes(data[at + 2 : at + 4])
            end = after_coded_data(data, start)
            yield from (found.start() for found in RESTART.finditer(data, start, end))
            yield end


def after_coded_data(data: bytes, at: int, least: int = 0) -> int:
    """Where the next marker stands: within coded data a 0xFF is followed by `least` or less, or by a restart marker."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] > least and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2
    return len(data)
