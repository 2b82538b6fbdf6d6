"""Scores of a heat map against boxes: the pointing game, and intersection over union.

Boxes are float (N, 4): left, top, right, bottom, as shares of width and height.
"""

from collections.abc import Sequence

import numpy as np

THRESHOLD = 0.5  # of a map's maximum


def mask(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Where boxes lie, bool (H, W), of boxes (N, 4): left, top, right, bottom as shares of width and height.

    A pixel belongs to a box that holds its centre; a box without such a pixel gets the pixel around its own centre.
    """
    height, width = shape
    across, down = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    inside = np.zeros(shape, dtype=bool)
    for left, top, right, bottom in np.reshape(boxes, (-1, 4)):
        columns, rows = (across >= left) & (across < right), (down >= top) & (down < bottom)
        if not columns.any():
            columns[min(int((left + right) / 2 * width), width - 1)] = True
        if not rows.any():
            rows[min(int((top + bottom) / 2 * height), height - 1)] = True
        inside |= rows[:, None] & columns
    return inside


def centres(grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The centres of a grid's cells as shares: those of its columns (w,) across, and of its rows (h,) down."""
    height, width = grid
    return (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height


def hitting_cells(boxes: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Which cells of a grid (h, w) have their centre in one of `boxes` (N, 4): bool (h, w), maybe none."""
    across, down = centres(grid)
    left, top, right, bottom = np.reshape(boxes, (-1, 4)).T[:, :, None]
    rows, columns = (top <= down) & (down < bottom), (left <= across) & (across < right)
    return (rows[:, :, None] & columns[:, None, :]).any(axis=0)


def points(maps: np.ndarray) -> np.ndarray:
    """Where maps (N, h, w) are highest: float (N, 2), the centre of that cell as shares of width and height (x, y).

    Use maps on their own grid: when enlarged, the outermost cells reach the edge and the others lose some height. If
    several cells share the maximum, it is the one nearest to the middle.
    """
    across, down = centres(grid := maps.shape[1:])
    away = (down[:, None] - 0.5) ** 2 + (across - 0.5) ** 2
    top = maps >= maps.max(axis=(1, 2), keepdims=True)
    chosen = np.where(top, away, np.inf).reshape(len(maps), -1).argmin(axis=1)
    rows, columns = np.unravel_index(chosen, grid)
    return np.stack([across[columns], down[rows]], axis=1)


def pointing_game(maps: np.ndarray, edges: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each map is highest inside a box: bool (N,). A map of zeros counts as a miss.

    maps: floats (N, h, w) of 0 and more, on any grid; edges: the boxes of each, (boxes, 4) as shares. Of Zhang et al.
    2018, doi:10.1007/s11263-017-1059-x, without their margin of 15 pixels.
    """
    inside = [
        bool(((own[:, :2] <= point) & (point < own[:, 2:])).all(axis=1).any())
        for point, own in zip(points(maps), map(np.atleast_2d, edges), strict=True)
    ]
    return np.array(inside, dtype=bool) & (maps.max(axis=(1, 2)) > 0)


def overlap(maps: np.ndarray, masks: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Intersection over union of each mask with the area above `threshold` of its map's maximum: float (N,).

    maps: floats (N, H, W) of 0 and more; masks: bool (N, H, W). 0 for a map of zeros.
    """
    most = maps.max(axis=(1, 2), keepdims=True)
    found = (maps > threshold * most) & (most > 0)
    shared, either = (found & masks).sum(axis=(1, 2)), (found | masks).sum(axis=(1, 2))
    return np.divide(shared, either, out=np.zeros(len(maps)), where=either > 0)
