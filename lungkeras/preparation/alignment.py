"""Which pictures show the same scan, even if one was cropped, padded, mirrored, inverted, slightly rotated, written on,
or changed in tone.

Tone is removed first: each grey level minus the mean of its neighbourhood, divided by the standard deviation there, so
an inverted scan is the negative. Then come four stages, each on the candidates left by the one before: 16 x 16 values
of every scan and of its views (cropped by steps, turned, mirrored) against those of all scans; the detail, 56 x 56
values; the correlation of the finest detail of 64 x 64 pixels once one is laid over the other (OpenCV's
findTransformECC); and that of 128 x 128.

For N scans the first stage takes matrix products of N x N x 256 values per view; each pair it leaves, 3 in 1,000 pairs
of drawn scans, takes a product of 3,136 values. The rest grows with N: at most N / 2 pairs that only resemble each
other are aligned.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

SIDE = 128  # of a picture
HALF = SIDE // 2
EDGE = 4  # pixels of a half-size picture that are left out, as padding and blur reach them
INNER = HALF - 2 * EDGE
COARSE = 16
FINE_SPREAD, DETAIL_SPREAD, SPREAD = 1.0, 2.0, 3.0  # pixels of the neighbourhood
LEAST_SPREAD = 2.0  # grey levels: smoother areas show only noise
# With 150 real scans, 97 in 100 copies of each kind are above all three thresholds. Among pairs of drawn patients, at
# most 2 in 1,000 are above the first and 1 in 30,000 above the second; up to half of those that resemble each other are
# below the third.
LEAST_COARSE, SURE_DETAIL, LEAST_FINE = 0.75, 0.78, 0.62
LEAST_DETAIL = 0.55  # of the pairs that only resemble each other
MOST_STRAIN = 0.12  # of the map between two copies, beyond the view: a larger distortion means another exposure
ROWS, COLUMNS = 256, 1024  # compared at a time
CELL = 16  # pixels of the cells in which correlation is looked at
TURN = 2.5  # degrees
PAIR = np.dtype([(name, np.int32) for name in ("low", "high", "row", "other", "view")] + [("score", np.float32)])


def _view(
    scale: float, across: float = 0.0, down: float = 0.0, mirrored: bool = False, turn: float = 0.0
) -> np.ndarray:
    """The map from a half-size picture of a view to its scan, for a crop (fraction of the side), an offset from the
    centre and a rotation (degrees)."""
    centre = (HALF - 1) / 2
    cosine, sine = scale * np.cos(np.deg2rad(turn)), scale * np.sin(np.deg2rad(turn))
    x = centre - (cosine - sine) * centre + across * HALF
    y = centre - (sine + cosine) * centre + down * HALF
    if mirrored:
        return np.float32([[-cosine, sine, HALF - 1 - x], [sine, cosine, y]])
    return np.float32([[cosine, -sine, x], [sine, cosine, y]])


VIEWS = [
    *(_view(1.0, mirrored=mirrored, turn=turn) for turn in (0.0, -TURN, TURN) for mirrored in (False, True)),
    *(_view(scale, mirrored=mirrored) for scale in (0.95, 0.9, 0.84, 0.79) for mirrored in (False, True)),
    *(
        _view(1 - 2 * off, across * off, down * off, mirrored)
        for off in (0.02, 0.04)
        for across in (-1, 1)
        for down in (-1, 1)
        for mirrored in (False, True)
    ),
]
SYMMETRIC = 6  # the first views, whose inverses are among them: they need only be compared with later scans


def candidates(pictures: np.ndarray) -> list[tuple[int, int, int]]:
    """Pairs of pictures, uint8 (N, 128, 128), where a view of one may be the other: (row, other row, view).

    Each pair occurs once, with its most similar view: all pairs whose detail is clearly alike, and the N / 2 next best.
    """
    starts = range(0, len(pictures), ROWS)
    if not starts:
        return []
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        looks = list(pool.map(lambda start: _looks(_evened(pictures[start : start + ROWS]), VIEWS[0]), starts))
        detail, coarse = (np.concatenate(part) for part in zip(*looks, strict=True))
        del looks
        found = np.concatenate(list(pool.map(lambda start: _resembling(pictures, detail, coarse, start), starts)))
    found = _best_views(found)
    found = found[np.argsort(-found["score"], kind="stable")]
    kept = found[: (found["score"] > SURE_DETAIL).sum() + len(pictures) // 2]
    return np.sort(kept, order=["low", "high"])[["row", "other", "view"]].tolist()


def _resembling(pictures: np.ndarray, detail: np.ndarray, coarse: np.ndarray, start: int) -> np.ndarray:
    """The pairs of the ROWS pictures from `start` on that resemble each other in some view, of type PAIR."""
    evens, found = _evened(pictures[start : start + ROWS]), []
    for number, view in enumerate(VIEWS):
        own_detail, own = _looks(evens, view)
        hits = []
        for left in range(start if number < SYMMETRIC else 0, len(coarse), COLUMNS):
            alike = own @ coarse[left : left + COLUMNS].T
            hits.append(np.argwhere((alike > LEAST_COARSE) | (alike < -LEAST_COARSE)) + (start, left))
        rows, others = np.concatenate(hits).T
        wanted = others > rows if number < SYMMETRIC else others != rows
        order = np.argsort(rows[wanted], kind="stable")
        rows, others = rows[wanted][order], others[wanted][order]
        pairs = np.empty(len(rows), PAIR)
        pairs["row"], pairs["other"], pairs["view"] = rows, others, number
        pairs["low"], pairs["high"] = np.minimum(rows, others), np.maximum(rows, others)
        ends = np.searchsorted(rows, np.arange(start, start + len(own) + 1))
        for values, first, last in zip(own_detail, ends[:-1], ends[1:], strict=True):
            pairs["score"][first:last] = np.abs(detail[others[first:last]] @ values)
        found.append(pairs[pairs["score"] > LEAST_DETAIL])
    return _best_views(np.concatenate(found))


def _best_views(pairs: np.ndarray) -> np.ndarray:
    """The best view of each pair, the pairs in order."""
    pairs = pairs[np.lexsort((pairs["view"], -pairs["score"], pairs["high"], pairs["low"]))]
    new = np.ones(len(pairs), bool)
    new[1:] = (np.diff(pairs["low"]) != 0) | (np.diff(pairs["high"]) != 0)
    return pairs[new]


def likeness(one: np.ndarray, other: np.ndarray, view: int) -> tuple[float, float]:
    """Of two pictures, uint8 (128, 128), their correlation once the one's view is laid over the other, and the lower
    quartile of the correlations in cells of 16 x 16 pixels, which a burnt-in text does not reach.

    (0, 0) where they can't be laid over each other without bending the view.
    """
    start = VIEWS[view]
    fixed, moving = _even(half(other), SPREAD), _even(half(one), SPREAD)
    sign = np.float32(-1 if (fixed * _seen(moving, start)).sum() < 0 else 1)
    found = _aligned(fixed, sign * moving, start, 50)
    if found is None:
        return 0.0, 0.0
    fine, fine_moving = _even(half(other), FINE_SPREAD), sign * _even(half(one), FINE_SPREAD)
    if _correlations(fine, fine_moving, found)[0] < LEAST_FINE:
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
    """The difference from the local mean, divided by the local standard deviation: float32, of the same shape."""
    values = image.astype(np.float32)
    values -= cv2.GaussianBlur(values, (0, 0), spread)
    return values / (np.sqrt(cv2.GaussianBlur(values * values, (0, 0), spread)) + LEAST_SPREAD)


def _evened(pictures: np.ndarray) -> np.ndarray:
    return np.stack([_even(half(picture), DETAIL_SPREAD) for picture in pictures])


def _looks(evens: np.ndarray, view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a view shows of evened half-size pictures, float32 (N, 64, 64), without its edge: the detail, (N, 3136), and
    coarsely, (N, 256), each of mean 0 and length 1."""
    inner, flags = view.copy(), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inner[:, 2] += EDGE * view[:, :2].sum(axis=1)
    options = {"flags": flags, "borderMode": cv2.BORDER_REPLICATE}
    detail = [cv2.warpAffine(even, inner, (INNER, INNER), **options) for even in evens]
    coarse = [cv2.resize(values, (COARSE, COARSE), interpolation=cv2.INTER_AREA) for values in detail]
    return _unit(np.stack(detail)), _unit(np.stack(coarse))


def _unit(images: np.ndarray) -> np.ndarray:
    values = images.reshape(len(images), -1)
    values -= values.mean(axis=1, keepdims=True)
    return values / (np.linalg.norm(values, axis=1, keepdims=True) + 1e-6)


def _aligned(fixed: np.ndarray, moving: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray | None:
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, 1e-4)
    try:
        return cv2.findTransformECC(fixed, moving, start.copy(), cv2.MOTION_AFFINE, criteria, None, 1)[1]
    except cv2.error:  # nothing that the two have in common
        return None


def _correlations(fixed: np.ndarray, moving: np.ndarray, matrix: np.ndarray) -> tuple[float, float]:
    """Correlation where both show the scan, and the lower quartile over cells; (0, 0) if they share too little."""
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
