"""OpenCV as lungkeras uses it: it refuses decompression bombs, and raises MemoryError as Python does."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# The largest scan of the three collections has 9 megapixels; a file that claims more than this is a bomb.
MOST_PIXELS = 64_000_000
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))  # read once, at the import of cv2

import cv2  # noqa: E402
import numpy as np  # noqa: E402


class Unreadable(ValueError):
    """Why the content of a file can't be decoded, in a few words that quote nothing of it."""


@contextmanager
def enough_memory() -> Iterator[None]:
    """Raises MemoryError for OpenCV's out-of-memory error, which is not the fault of a scan."""
    try:
        yield
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(error.err) from error
        raise


def decode_by_opencv(data: bytes, colours: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray:
    """An image in any format that OpenCV reads, uint8 or uint16, (height, width) or (height, width, BGR).

    `colours` is one of cv2.IMREAD_GRAYSCALE and cv2.IMREAD_COLOR. Raises Unreadable.
    """
    try:
        with enough_memory():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), colours | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise Unreadable("can't be decoded") from error
    if image is None or image.size == 0:
        raise Unreadable("can't be decoded")
    return image


def size_flaw(height: bytes, width: bytes) -> str | None:
    """What is wrong with the size in a header, given as its big-endian bytes; None if nothing is."""
    pixels = int.from_bytes(height) * int.from_bytes(width)
    return "no pixels" if pixels == 0 else "too many pixels" if pixels > MOST_PIXELS else None
