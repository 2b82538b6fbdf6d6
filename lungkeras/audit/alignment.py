"""Which pictures show the same scan, whatever was done to one of them: cropped, padded, mirrored, inverted, turned a
little, written on, or of another tone.

Tone goes first: each grey level less the mean of its neighbourhood, over the spread there, so that an inverse is the
negative. Then three looks, each at what the one before has left: 16 x 16 values of every scan and of its views (cropped
by steps, mirrored) against those of all scans, by matrix products; the detail of what is left, 56 x 56 values; and the
correlation of 128 x 128 pixels once one is laid over the other (OpenCV's findTransformECC).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

SIDE = 128  # of a picture
HALF = SIDE // 2
EDGE = 4  # pixels of a half-size picture that are left out, as padding and blur reach them
COARSE = 16
COARSE_SPREAD, DETAIL_SPREAD, SPREAD = 3.0, 2.0, 3.0  # pixels of the neighbourhood
LEAST_SPREAD = 2.0  # grey levels: what is smoother shows noise
# Of 150 real scans, the copies of each kind stay above 0.76, 0.8 and 0.79; most other pairs are below.
LEAST_COARSE, LEAST_DETAIL, LEAST_HALF = 0.70, 0.55, 0.76
MOST_STRAIN = 0.12  # of the map between two copies, beyond the view: what is bent further was exposed anew
ROWS, COLUMNS = 256, 4096  # compared at a time
CELL = 16  # pixels of the cells in which correlation is looked at


def _view(scale: float, across: float = 0.0, down: float = 0.0, mirrored: bool = False) -> np.ndarray:
    """The map from a half-size picture of a view to its scan: a crop of so much of the side, off centre by so much."""
    centre = (HALF - 1) / 2
    x, y = centre - scale * centre + across * HALF, centre - scale * centre + down * HALF
    return np.float32([[-scale, 0, HALF - 1 - x], [0, scale, y]] if mirrored else [[scale, 0, x], [0, scale, y]])


VIEWS = [
    *(_view(scale, mirrored=mirrored) for scale in (1.0, 0.95, 0.9, 0.84) for mirrored in (False, True)),
    *(
        _view(1 - 2 * off, across * off, down * off, mirrored)
        for off in (0.02, 0.04)
        for across in (-1, 1)
        for down in (-1, 1)
        for mirrored in (False, True)
    ),
]
SYMMETRIC = 2  # views, the first ones, that need only be compared with later scans


def candidates(pictures: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(row, other row, view) of pictures, uint8 (N, 128, 128), of which a view of the one resembles the other, once a
    pair, with the view that resembles it most."""
    halves = np.stack([half(picture) for picture in pictures]) if len(pictures) else np.zeros((0, HALF, HALF), np.uint8)
    workers = os.cpu_count() or 1
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        coarse = np.stack(list(pool.map(_coarse, halves))) if len(halves) else np.zeros((0, COARSE**2), np.float32)
        detail = np.stack(list(pool.map(_detail, halves))) if len(halves) else coarse

        def look(start: int) -> dict[tuple[int, int], tuple[float, int, int, int]]:
            best: dict[tuple[int, int], tuple[float, int, int, int]] = {}
            rows = range(start, min(start + ROWS, len(halves)))
            for number, view in enumerate(VIEWS):
                seen = [halves[row] if number == 0 else _seen(halves[row], view) for row in rows]
                own = coarse[rows.start : rows.stop] if number == 0 else np.stack([_coarse(image) for image in seen])
                first, details = start if number < SYMMETRIC else 0, {}
                for left in range(first, len(halves), COLUMNS):
                    alike = own @ coarse[left : left + COLUMNS].T
                    np.abs(alike, out=alike)
                    for place, column in np.argwhere(alike > LEAST_COARSE).tolist():
                        row, other = start + place, left + column
                        if row == other or (number < SYMMETRIC and other < row):
                            continue
                        if place not in details:
                            details[place] = _detail(seen[place])
                        score = abs(float(details[place] @ detail[other]))
                        pair = (min(row, other), max(row, other))
                        if score > max(LEAST_DETAIL, best.get(pair, (0.0,))[0]):
                            best[pair] = (score, row, other, number)
            return best

        found: dict[tuple[int, int], tuple[float, int, int, int]] = {}
        for best in pool.map(look, range(0, len(halves), ROWS)):
            for pair, entry in best.items():
                if entry[0] > found.get(pair, (0.0,))[0]:
                    found[pair] = entry
    for pair in sorted(found):
        _, row, other, view = found[pair]
        yield row, other, view


def likeness(one: np.ndarray, other: np.ndarray, view: int) -> tuple[float, float]:
    """Of two pictures, uint8 (128, 128), their correlation once the one's view is laid over the other, and the lower
    quartile of the correlations in cells of 16 x 16 pixels, which a burnt-in text does not reach.

    (0, 0) where they can't be laid over each other without bending the view.
    """
    start = VIEWS[view]
    fixed, moving = _even(half(other), SPREAD), _even(half(one), SPREAD)
    sign = np.float32(-1 if (fixed * _seen(moving, start)).sum() < 0 else 1)
    found = _aligned(fixed, sign * moving, start, 50)
    if found is None or _correlations(fixed, sign * moving, found)[0] < LEAST_HALF:
        return 0.0, 0.0
    whole = found.copy()
    whole[:, 2] = 2 * found[:, 2] + 0.5 - 0.5 * found[:, :2].sum(axis=1)
    fixed, moving = _even(other, SPREAD), sign * _even(one, SPREAD)
    found = _aligned(fixed, moving, whole, 30)
    if found is None or np.abs(np.linalg.inv(start[:, :2]) @ found[:, :2] - np.eye(2)).max() > MOST_STRAIN:
        return 0.0, 0.0
    return _correlations(fixed, moving, found)


def half(picture: np.ndarray) -> np.ndarray:
    """A picture at half its size, areas averaged."""
    return cv2.resize(picture, (HALF, HALF), interpolation=cv2.INTER_AREA)


def _seen(image: np.ndarray, view: np.ndarray) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, view, image.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _even(image: np.ndarray, spread: float) -> np.ndarray:
    """What differs from its neighbourhood, over the standard deviation there: float32, of the same shape."""
    values = image.astype(np.float32)
    values -= cv2.GaussianBlur(values, (0, 0), spread)
    return values / (np.sqrt(cv2.GaussianBlur(values * values, (0, 0), spread)) + LEAST_SPREAD)


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.ravel() - values.mean()
    return values / (np.linalg.norm(values) + 1e-6)


def _coarse(image: np.ndarray) -> np.ndarray:
    inner = _even(image, COARSE_SPREAD)[EDGE:-EDGE, EDGE:-EDGE]
    return _unit(cv2.resize(inner, (COARSE, COARSE), interpolation=cv2.INTER_AREA))


def _detail(image: np.ndarray) -> np.ndarray:
    return _unit(_even(image, DETAIL_SPREAD)[EDGE:-EDGE, EDGE:-EDGE])


def _aligned(fixed: np.ndarray, moving: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray | None:
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, 1e-4)
    try:
        return cv2.findTransformECC(fixed, moving, start.copy(), cv2.MOTION_AFFINE, criteria, None, 1)[1]
    except cv2.error:  # nothing that the two have in common
        return None


def _correlations(fixed: np.ndarray, moving: np.ndarray, matrix: np.ndarray) -> tuple[float, float]:
    """Correlation where both show the scan, and the lower quartile over cells; (0, 0) where they share too little."""
    side = len(fixed)
    edge = EDGE * side // HALF
    inside = np.zeros(fixed.shape, np.float32)
    inside[edge:-edge, edge:-edge] = 1
    laid = cv2.warpAffine(moving, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    inside *= cv2.warpAffine(inside, matrix, (side, side), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)

    def summed(values: np.ndarray) -> np.ndarray:
        return (values * inside).reshape(side // CELL, CELL, side // CELL, CELL).sum(axis=(1, 3), dtype=np.float64)

    count, one, other = summed(np.ones_like(fixed)), summed(fixed), summed(laid)
    both, ones, others = summed(fixed * laid), summed(fixed**2), summed(laid**2)
    if count.sum() < 0.4 * side**2:
        return 0.0, 0.0
    of_cells = _correlation(*(values[count > 0.6 * CELL**2] for values in (count, one, other, both, ones, others)))
    whole = _correlation(*(values.sum() for values in (count, one, other, both, ones, others)))
    return float(whole), float(np.quantile(of_cells, 0.25)) if of_cells.size else 0.0


def _correlation(count, one, other, both, ones, others):
    scale = np.sqrt(np.maximum((ones - one**2 / count) * (others - other**2 / count), 0))
    return np.where(scale > 1e-9, (both - one * other / count) / np.maximum(scale, 1e-9), 0.0)
