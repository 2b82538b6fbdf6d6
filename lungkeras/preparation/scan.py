"""One scan, prepared as the study does: equalise, blur, resize."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from lungkeras.datasets.scans.opencv import cv2, enough_memory
from lungkeras.datasets.scans.workers import decode_alone
from lungkeras.system.errors import ScanError

BLUR = (5, 5)


def prepare_scan(path: Path | str, size: int) -> np.ndarray:
    """Reads one scan and prepares it as the study does: equalise, blur 5 x 5, resize.

    Returns uint8 of shape (size, size) in [0, 255], whatever the file holds (grey, RGB, RGBA, palette, 16 bit; see
    `decode_grey`). The file is decoded in a process of its own, within limits of time and memory, which takes 0.15 s;
    `prepare_dataset` keeps such processes for its files. Equalising comes first, at full size: after resizing, the
    histogram would be that of interpolated pixels. The blur is OpenCV's where no sigma is given: weights 1 4 6 4 1,
    over 16, along each axis. Resizing averages areas and does not keep the aspect ratio.

    Raises ScanError, naming the file, if it is empty, truncated or not an image; callers quarantine it.

    >>> folder = "sources/demo/pneumonia/chest_xray/test/NORMAL"
    >>> scan = lungkeras.prepare_scan(f"{folder}/NORMAL2-IM-0041-0001-0001.jpeg", 64)
    >>> scan.shape, scan.dtype
    ((64, 64), dtype('uint8'))
    """
    return preparation_steps(path, size)["resized"]


def preparation_steps(
    path: Path | str, size: int, decode: Callable[[Path | str], np.ndarray] = decode_alone
) -> dict[str, np.ndarray]:
    """The scan after each step: original, equalised, blurred (uint8, the file's size), resized (size, size)."""
    original = decode(path)
    with enough_memory():
        equalised = cv2.equalizeHist(original)
        blurred = cv2.GaussianBlur(equalised, BLUR, 0)
        resized = cv2.resize(blurred, (size, size), interpolation=cv2.INTER_AREA)
    return {"original": original, "equalised": equalised, "blurred": blurred, "resized": resized}


def first_steps(paths: Iterable[Path], size: int) -> dict[str, np.ndarray]:
    """`preparation_steps` of the first of these scans that can be read. Raises ScanError if none can."""
    reason = ScanError("expected a scan that can be read, found no scan at all: name another source")
    for path in paths:
        try:
            return preparation_steps(path, size)
        except ScanError as error:
            reason = error
    raise reason
