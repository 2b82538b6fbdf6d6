"""The bootstrap over patients, and the confidence intervals that it gives (of F1 in f1_scores, of ranks in rankings).

The scans of one patient resemble each other, so patients are drawn, never scans: a draw takes as many patients as there
are, with replacement, each with all of its scans. `patients` holds one name per scan. Runs tested on the same patients
get the same draws, whatever the order of their scans.
"""

import functools
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

DRAWS = 2000
LEVEL = 0.95
SEED = 0
PRIOR_ERRORS = 0.75  # of each kind, over all classes
FEWEST_PATIENTS = 10  # fewest patients with a class, and without it, for an interval per class
TOO_FEW = "too few"  # what tables say with fewer patients
MOST_BLOCKS = 2000


def patient_places(patients: Sequence) -> tuple[np.ndarray, int]:
    """(index of each scan's patient among the sorted patients, int (scans,); the number of patients)."""
    names, places = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    return places, len(names)


def patient_blocks(patients: Sequence, most: int = MOST_BLOCKS, seed: int = SEED) -> np.ndarray:
    """The resampling unit of each scan, int (scans,): its patient, or one of `most` blocks if there are more patients.

    Blocks are of equal size, filled at random, and independent as patients are. The width of an interval over 2,000
    blocks is within 2 % of that over patients, and it takes less time and memory.
    """
    places, count = patient_places(patients)
    return places if count <= most else (np.random.default_rng([seed, count, 5]).permutation(count) % most)[places]


@functools.lru_cache(maxsize=4)
def patient_draws(patients: int, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """How often each patient occurs in each draw: float32 (draws, patients), whole numbers; read-only."""
    chosen = np.random.default_rng([seed, patients]).integers(patients, size=(draws, patients))
    chosen += patients * np.arange(draws)[:, None]
    counts = np.bincount(chosen.ravel(), minlength=draws * patients).reshape(draws, patients).astype(np.float32)
    counts.flags.writeable = False
    return counts


def sums_by_patient(values: np.ndarray, patients: Sequence) -> np.ndarray:
    """The sum over each patient's scans: float64 (patients, ...) from values (scans, ...)."""
    places, count = patient_places(patients)
    values = np.asarray(values, dtype=np.float64)
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, places, values)
    return sums


def drawn_sums(sums: np.ndarray, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """The sum over the patients of each draw: float64 (draws, ...) from sums (patients, ...)."""
    weights = patient_draws(len(sums), draws, seed).astype(np.float64)
    return (weights @ sums.reshape(len(sums), -1)).reshape(draws, *sums.shape[1:])


def drawn_mean(values: np.ndarray, patients: Sequence, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """The mean of values (scans,) over the scans of each draw: (draws,); NaN if a draw has none."""
    sums = sums_by_patient(np.stack([values, np.ones(len(values))], axis=1), patients)
    total, scans = drawn_sums(sums, draws, seed).T
    return np.divide(total, scans, out=np.full(draws, np.nan), where=scans > 0)


def interval(drawn: np.ndarray, patients: int | None = None, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of drawn values (draws,); (NaN, NaN) if none is defined.

    `patients` widens it for a small number of them, which the bootstrap alone makes too narrow (the expanded percentile
    interval of Hesterberg 2015, doi:10.1080/00031305.2015.1089789); with a single patient there is no interval.
    """
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) == 0 or patients == 1:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    if patients:
        tail = norm.cdf(np.sqrt(patients / (patients - 1)) * student.ppf(tail, patients - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(
    values: np.ndarray, unseen: np.ndarray, patients: Sequence, draws: int = DRAWS, seed: int = SEED
) -> tuple[float, float]:
    """The interval of a mean of values (scans,) that a rare scan affects strongly, as an error does a Brier score.

    `unseen` (scans,) holds the value of each scan if its label were another. The bootstrap over patients adds
    PRIOR_ERRORS of these on average to each draw (a gamma), so it keeps its coverage when errors are few. (NaN, NaN)
    for a single patient.
    """
    sums = sums_by_patient(np.stack([values, np.ones(len(values))], axis=1), patients)
    random, scans = np.random.default_rng([seed, len(sums), 3]), max(len(values) / max(len(sums), 1), 1.0)
    added = scans * random.gamma(PRIOR_ERRORS, size=draws)
    total, count = drawn_sums(sums, draws, seed).T
    drawn = (total + added * random.choice(np.asarray(unseen, dtype=np.float64), draws)) / (count + added)
    low, high = interval(drawn, len(sums))
    point = float(np.mean(values))
    return min(low, point), max(high, point)


def rarer_side(labels: np.ndarray, patients: Sequence) -> int:
    """The number of patients who have a class (scans,), or of those who lack it, whichever is smaller."""
    labels, patients = np.asarray(labels), np.asarray(patients, dtype=str)
    return min(len(set(patients[labels == side])) for side in (0, 1))


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis, ignoring NaN; NaN if all are NaN."""
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
