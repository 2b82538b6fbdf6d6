"""The scans that a model finds similar: nearest neighbours in its last features."""

import numpy as np


def nearest(features: np.ndarray, among: np.ndarray, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `among` (N, F) to each row of `features` (M, F), by the cosine of the angle between them.

    Returns (places int (M, n), cosines float32 (M, n)), the nearest first, with n = min(count, N). Features that are
    not numbers count as 0, and a row of zeros is at right angles to all.
    """
    asked, known = (_unit(np.asarray(rows, np.float32)) for rows in (features, among))
    cosines = asked @ known.T
    places = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return places, np.take_along_axis(cosines, places, axis=1)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.nan_to_num(rows, posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
