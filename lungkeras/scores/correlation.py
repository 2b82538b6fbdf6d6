"""Correlations of the rows of two arrays."""

import numpy as np
from scipy.stats import rankdata

NO_SPREAD = 1e-12


def row_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the rows of two arrays (N, values): float (N,); NaN if one row is flat."""
    first, second = (part - part.mean(axis=1, keepdims=True) for part in (first, second))
    spread = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.divide((first * second).sum(axis=1), spread, out=np.full(len(first), np.nan), where=spread > NO_SPREAD)


def rank_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of the rows of two arrays (N, values): float (N,); NaN if one row is flat."""
    return row_correlations(*(rankdata(part, axis=1) for part in (first, second)))
