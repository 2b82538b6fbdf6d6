"""PNG files -> grey images of 8 bits: the still image, ignoring chunks about colour or animation."""

import zlib
from collections.abc import Iterator

import numpy as np

from lungkeras.datasets.scans.opencv import cv2, decode_by_opencv, size_flaw

PNG = b"\x89PNG\r\n\x1a\n"
MOST_METADATA = 8_000_000  # bytes of a PNG that are not pixels
ANIMATION = (b"acTL", b"fcTL", b"fdAT")
GREY = (0, 4)  # colour types, without and with alpha


def png_flaw(data: bytes) -> str | None:
    """Why the bytes of a file are not a complete PNG, in a few words; None if they are.

    Walks the chunks up to IEND: each is length, type, content, checksum (PNG specification, 5.3).
    """
    if not data.startswith(PNG[: len(data)]):
        return "damaged PNG (line ends in it were changed, as by a transfer as text)"
    if len(data) < 24:
        return "PNG cut short"
    if data[12:16] == b"CgBI":
        return "Apple's CgBI variant of PNG, which is not read; convert it to PNG"
    if data[12:16] != b"IHDR":
        return "damaged PNG (it does not begin with its size)"
    if reason := size_flaw(data[16:20], data[20:24]):
        return reason
    end, metadata = len(PNG), 0
    for kind, start, end in _chunks(data):
        if zlib.crc32(memoryview(data)[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return "damaged PNG (a checksum does not match)"
        if kind == b"IEND":
            return None
        if kind not in (b"IDAT", *ANIMATION) and (metadata := metadata + end - start) > MOST_METADATA:
            return f"more than {MOST_METADATA // 1_000_000} MB of metadata"
    return "PNG cut short"


def decode_png(data: bytes) -> np.ndarray:
    """An intact PNG as uint8 (height, width). Raises Unreadable.

    Colour becomes its luma, as its values stand: OpenCV's own grey of a colour PNG goes through linear light where a
    chunk gives its gamma. 16 bits become 8 by the range that is there:

    - all 16 bits, value / 257, where the topmost is used, or sBIT says that the values were scaled to them;
    - the bits of sBIT where the values fit into these;
    - from the least value, black, to the greatest, white, where neither is so, as in DICOM without a window.
    """
    bits = _significant_bits(data)
    data = _without_animation(data)
    image = decode_by_opencv(data, cv2.IMREAD_GRAYSCALE if data[25] in GREY else cv2.IMREAD_COLOR)
    if image.dtype == np.uint8:
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    fits = bits < 16 and image.max() < 1 << bits and bool((image & ((1 << 16 - bits) - 1)).any())
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    black, white = 0, (1 << bits) - 1 if fits else 65535
    if not bits and image.min() < image.max() < 1 << 15:
        black, white = int(image.min()), int(image.max())
    return cv2.convertScaleAbs(image, alpha=255 / (white - black), beta=-255 * black / (white - black))


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each complete chunk."""
    start = len(PNG)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if end > len(data):
            return
        yield data[start + 4 : start + 8], start, end
        start = end


def _significant_bits(data: bytes) -> int:
    """The largest value of the sBIT chunk for grey or a colour, 0 without one (PNG specification, 11.3.2.7)."""
    for kind, start, end in _chunks(data):
        if kind == b"sBIT":
            return min(16, max(data[start + 8 : end - 4][: 1 if data[25] in GREY else 3], default=0))
        if kind == b"IDAT":
            break
    return 0


def _without_animation(data: bytes) -> bytes:
    """The file without the chunks of an animation, whose first frame need not be the still image."""
    if b"acTL" not in data:
        return data
    return PNG + b"".join(data[start:end] for kind, start, end in _chunks(data) if kind not in ANIMATION)
