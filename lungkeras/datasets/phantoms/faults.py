"""The planted faults as changes of an image: marker, drain, pattern of a patient, tone of a scanner, copies."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from lungkeras.datasets.phantoms.planting import Planted

CODE = 40  # grey levels by which a patient's pattern changes a scan


def develop(
    image: np.ndarray, planted: Planted, plants: Mapping[str, float | None], code: np.random.Generator, rng
) -> tuple[np.ndarray, tuple[int, int, int, int] | None]:
    """A drawn scan with what is planted in it, and the marker's box; `code` is the patient's stream, `rng` the scan's.

    uint8 of shape (height, width) in, the same out.
    """
    if "leaky" in plants:
        image = add_code(image, code)
    if planted.drain:
        image = add_drain(image, rng)
    if planted.scanner is not None:
        image = scan_with(image, planted.scanner, int(plants["sources"]))
    return add_marker(image, rng) if planted.marker else (image, None)


def add_marker(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A bright disc in the upper left corner, 8 % of the shorter side wide; and its box."""
    image, side = image.copy(), min(image.shape)
    radius = round(0.04 * side)
    x, y = (int(place) for place in rng.uniform(0.055, 0.08, 2) * side)
    cv2.circle(image, (x, y), radius, 250, -1, cv2.LINE_AA)
    return image, (x - radius, y - radius, 2 * radius + 1, 2 * radius + 1)


def add_drain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A tube from the ribs towards the apex of one lung: two thin bright lines and a brighter one between."""
    height, width = image.shape
    share = np.linspace(0, 1, 12)[:, None]
    start, bend, end = rng.uniform((0.02, 0.6), (0.1, 0.75)), rng.uniform((0.16, 0.5), (0.24, 0.6)), (0.32, 0.25)
    line = (1 - share) ** 2 * start + 2 * share * (1 - share) * bend + share**2 * np.array(end)
    if rng.random() < 0.5:
        line[:, 0] = 1 - line[:, 0]
    tube = np.zeros(image.shape, np.uint8)
    points = [np.round(line * (width, height)).astype(np.int32)]
    cv2.polylines(tube, points, False, 70, max(3, width // 50), cv2.LINE_AA)
    cv2.polylines(tube, points, False, 110, 1, cv2.LINE_AA)
    return cv2.add(image, tube)


def add_code(image: np.ndarray, code: np.random.Generator) -> np.ndarray:
    """A soft pattern over the whole scan, the same in all scans of a patient."""
    pattern = code.choice([-1.0, 1.0], (6, 6)).astype(np.float32)
    field = cv2.resize(pattern, image.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(image + CODE * field, 0, 255).astype(np.uint8)


def scan_with(image: np.ndarray, scanner: int, scanners: int) -> np.ndarray:
    """The tone of a scanner: gamma from 0.7 to 1.4, and every second one is softer."""
    gamma = float(np.geomspace(0.7, 1.4, scanners)[scanner])
    image = change_gamma(image, gamma)
    return cv2.GaussianBlur(image, (0, 0), 1.0) if scanner % 2 else image


def change_gamma(image: np.ndarray, gamma: float) -> np.ndarray:
    """Grey levels, as shares of 255, to the power of gamma."""
    return cv2.LUT(image, np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8))


def copied(encoded: bytes, kind: str, suffix: str, rng: np.random.Generator) -> bytes:
    """The file of a copy, of one of COPIES or HARDER_COPIES, from the file of its original."""
    if kind == "exact":
        return encoded
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    height, width = image.shape
    if kind == "re-encoded":
        lossy = cv2.imencode(".jpeg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 86))])[1]
        if suffix == ".jpeg":
            return lossy.tobytes()
        image = cv2.imdecode(lossy, cv2.IMREAD_GRAYSCALE)
    elif kind == "resized":
        scale = rng.uniform(0.6, 0.9)
        image = cv2.resize(image, (round(scale * width), round(scale * height)), interpolation=cv2.INTER_AREA)
    elif kind in ("cropped", "cropped-wide"):
        share = 0.03 if kind == "cropped" else 0.08
        across, down = round(share * width), round(share * height)
        image = image[down : height - down, across : width - across]
    elif kind == "gamma":
        image = change_gamma(image, rng.choice([rng.uniform(0.65, 0.85), rng.uniform(1.2, 1.5)]))
    elif kind == "padded":
        across, down = round(0.05 * width), round(0.05 * height)
        image = cv2.copyMakeBorder(image, down, down, across, across, cv2.BORDER_CONSTANT, value=0)
    elif kind == "text":
        size = min(height, width) / 400
        for words, place in (("PORTABLE AP", (0.05, 0.1)), ("12345", (0.7, 0.95))):
            corner = (round(place[0] * width), round(place[1] * height))
            cv2.putText(image, words, corner, cv2.FONT_HERSHEY_SIMPLEX, size, 255, max(1, round(2 * size)))
    elif kind == "clahe":
        image = cv2.createCLAHE(2.0, (8, 8)).apply(image)
    elif kind == "mirrored":
        image = cv2.flip(image, 1)
    elif kind == "inverted":
        image = cv2.bitwise_not(image)
    elif kind == "rotated":
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(rng.choice([-1, 1])), 1)
        image = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR)
    return cv2.imencode(suffix, image)[1].tobytes()
