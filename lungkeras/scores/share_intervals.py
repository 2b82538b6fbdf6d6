"""Confidence intervals of shares in closed form, for scans that are clustered in patients."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta, norm
from scipy.stats import t as student

from lungkeras.scores.intervals import LEVEL, sums_by_patient

NO_VARIANCE = 1e-12


def share_interval(values: np.ndarray, patients: Sequence, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a share, of values (scans,) in [0, 1], for scans that are clustered in patients.

    It uses the effective sample size: the number of independent scans with the same variance (Korn and Graubard 1998),
    at most the number of scans. Never of zero width; (NaN, NaN) for fewer than two patients, or where a value is NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    return share_interval_of_sums(sums_by_patient(np.stack([values, np.ones(len(values))], axis=1), patients), level)


def share_interval_of_sums(sums: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """`share_interval` of each patient's sum of values and number of scans, float (patients, 2)."""
    share, worth = share_and_worth(sums)
    if np.isnan(worth):
        return worth, worth
    z2 = norm.ppf((1 + level) / 2) ** 2
    middle = (share + z2 / (2 * worth)) / (1 + z2 / worth)
    reach = np.sqrt(z2 * (share * (1 - share) / worth + z2 / (4 * worth**2))) / (1 + z2 / worth)
    return max(float(middle - reach), 0.0), min(float(middle + reach), 1.0)


def exact_share_interval(values: np.ndarray, patients: Sequence, level: float = LEVEL) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share, with scans counted as in `share_interval`: never too short."""
    share, worth = share_and_worth(sums_by_patient(np.stack([values, np.ones(len(values))], axis=1), patients))
    if np.isnan(worth):
        return worth, worth
    hits, tail = share * worth, (1 - level) / 2
    low = float(beta.ppf(tail, hits, worth - hits + 1)) if hits > 0 else 0.0
    return low, float(beta.ppf(1 - tail, hits + 1, worth - hits)) if hits < worth else 1.0


def share_and_worth(sums: np.ndarray) -> tuple[float, float]:
    """(share, effective number of independent scans), from sums as above; NaN if unknown."""
    count, scans = len(sums), float(sums[:, 1].sum())
    if count < 2 or not np.isfinite(sums).all():
        return float("nan"), float("nan")
    share = sums[:, 0].sum() / scans
    variance = variance_of_mean(sums, share)
    return share, min(share * (1 - share) / variance, scans) if variance > NO_VARIANCE else float(count)


def variance_of_mean(sums: np.ndarray, mean: float) -> float:
    """The variance of a mean over scans clustered in patients, from sums as above, for two or more patients."""
    count, rest = len(sums), sums[:, 0] - mean * sums[:, 1]
    return count / (count - 1) * (rest**2).sum() / sums[:, 1].sum() ** 2


def paired_share_interval(
    values: np.ndarray, others: np.ndarray, patients: Sequence, level: float = LEVEL
) -> tuple[float, float]:
    """The interval of the mean difference of two values in [0, 1] of the same scans, both (scans,).

    That of Agresti and Min 2005 (doi:10.1002/sim.1781), which adds half a scan to each cell of the paired table, with
    Student's t and scans counted as in `share_interval`. Never of zero width; (NaN, NaN) for fewer than two patients,
    or where a value is NaN.
    """
    differences = np.asarray(values, dtype=np.float64) - np.asarray(others, dtype=np.float64)
    sums = sums_by_patient(np.stack([differences, np.ones(len(differences))], axis=1), patients)
    count, scans = len(sums), float(len(differences))
    if count < 2 or not np.isfinite(differences).all():
        return float("nan"), float("nan")
    mean, square = differences.mean(), (differences**2).mean()
    variance = variance_of_mean(sums, mean)
    worth = min((square - mean**2) / variance, scans) if variance > NO_VARIANCE else float(count)
    middle = worth * mean / (worth + 2)
    spread = (worth * square + 1) / (worth + 2) - middle**2
    reach = student.ppf((1 + level) / 2, count - 1) * np.sqrt(spread / (worth + 2))
    return max(float(min(middle - reach, mean)), -1.0), min(float(max(middle + reach, mean)), 1.0)


def widened(low: float, high: float, point: float, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """An interval of a score in [0, 1] that is not of zero width: at 1 or 0 the exact binomial limit of `trials`."""
    if np.isnan([low, high, point]).any() or low < high:
        return low, high
    share = round(point * trials)
    tail = (1 - level) / 2
    return (
        float(min(low, beta.ppf(tail, share, trials - share + 1))) if share else 0.0,
        float(max(high, beta.ppf(1 - tail, share + 1, trials - share))) if share < trials else 1.0,
    )
