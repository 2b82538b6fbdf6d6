"""Confidence intervals of a score: the bootstrap over patients, and closed forms for shares and means.

The scans of one patient resemble each other, so patients are drawn, never scans: a draw takes as many patients as there
are, with replacement, each with all of its scans. Below, labels and decisions are 0-or-1 arrays (scans, classes),
scores are floats of that shape, and `patients` holds one name per scan. A scan whose label is NaN (unknown) is left out
of that class. Runs tested on the same patients get the same draws, whatever the order of their scans.
"""

import functools
from collections.abc import Sequence

import numpy as np
from scipy.stats import beta, norm
from scipy.stats import t as student

from lungkeras.scores.metrics import known_only

DRAWS = 2000
LEVEL = 0.95
SEED = 0
PRIOR_ERRORS = 0.75  # of each kind, over all classes
FEWEST_PATIENTS = 10  # fewest patients with a class, and without it, for an interval per class
TOO_FEW = "too few"  # what tables say with fewer patients
NO_VARIANCE = 1e-12
MOST_TURNED = 60  # scans of each side whose labels are flipped in some draw
MOST_BLOCKS = 2000
AT_ONCE = 4_000_000  # weights held at a time while curves are drawn


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


def decision_counts(
    labels: np.ndarray, decided: np.ndarray, patients: Sequence, weights: np.ndarray | None = None
) -> np.ndarray:
    """Hits, decisions and positives of each patient and class: float64 (patients, 3, classes).

    All are 0 for a class that can't be scored (`metrics.known_only`). `weights` (scans,) is the weight of each scan;
    one by default.
    """
    labels, decided = (part.astype(np.int8) for part in known_only(labels, decided))
    counts = np.stack([labels * decided, decided, labels], axis=1)
    return sums_by_patient(counts if weights is None else counts * weights[:, None, None], patients)


def f1_of_counts(counts: np.ndarray) -> np.ndarray:
    """F1 (..., classes) of counts (..., 3, classes); 0 for a class neither present nor called."""
    hits, decisions, positives = np.moveaxis(counts, -2, 0)
    either = decisions + positives
    return np.divide(2 * hits, either, out=np.zeros_like(hits), where=either > 0)


def macro_f1_of_counts(counts: np.ndarray) -> float:
    """The macro F1 of counts (patients, 3, classes), over the classes that occur; NaN if none does."""
    counts = of_present(counts)
    return float(f1_of_counts(counts.sum(axis=0)).mean()) if counts.shape[-1] else float("nan")


def of_present(counts: np.ndarray) -> np.ndarray:
    """The counts (patients, 3, classes) of the classes that occur."""
    return counts[..., counts[:, 2].sum(axis=0) > 0]


def doubt(counts: np.ndarray, draws: int = DRAWS, seed: int = SEED, patient_count: int | None = None) -> np.ndarray:
    """Prior counts added to each draw of decision counts, so that "no error seen" does not mean "no error possible".

    counts (patients, 3, classes) -> float64 (draws, 3, classes): per class half a hit (a gamma of mean 1/2), and a
    missed and a wrongly called scan of mean PRIOR_ERRORS / classes each, as a Dirichlet prior on the cells adds them.
    They are scaled by the scans of an average patient; `patient_count` is the number of patients if the rows of counts
    are blocks.
    """
    classes = counts.shape[-1]
    random = np.random.default_rng([seed, len(counts), 2])
    scans = max(float(counts[:, 2].sum() / max(patient_count or len(counts), 1)), 1.0)
    hits, missed, called = (
        scans * random.gamma(mean, size=(draws, classes))
        for mean in (0.5, PRIOR_ERRORS / classes, PRIOR_ERRORS / classes)
    )
    return np.stack([hits, hits + called, hits + missed], axis=1)


def f1_interval(
    counts: np.ndarray,
    draws: int = DRAWS,
    seed: int = SEED,
    column: int | None = None,
    patient_count: int | None = None,
) -> tuple[float, float]:
    """The interval of the macro F1, or of the F1 of one class, from decision counts (patients, 3, classes).

    Bootstrap over patients with a prior (`doubt`): never of zero width, and it keeps its coverage when errors are few.
    `patient_count` as in `doubt`.
    """
    counts = of_present(counts) if column is None else counts[..., [column]]
    if not counts.shape[-1]:
        return float("nan"), float("nan")
    point = float(f1_of_counts(counts.sum(axis=0)).mean())
    drawn = f1_of_counts(drawn_sums(counts, draws, seed) + doubt(counts, draws, seed, patient_count))
    low, high = interval(drawn.mean(axis=1), len(counts))
    return min(low, point), max(high, point)


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
    apart = np.asarray(values, dtype=np.float64) - np.asarray(others, dtype=np.float64)
    sums = sums_by_patient(np.stack([apart, np.ones(len(apart))], axis=1), patients)
    count, scans = len(sums), float(len(apart))
    if count < 2 or not np.isfinite(apart).all():
        return float("nan"), float("nan")
    mean, square = apart.mean(), (apart**2).mean()
    variance = variance_of_mean(sums, mean)
    worth = min((square - mean**2) / variance, scans) if variance > NO_VARIANCE else float(count)
    middle = worth * mean / (worth + 2)
    spread = (worth * square + 1) / (worth + 2) - middle**2
    reach = student.ppf((1 + level) / 2, count - 1) * np.sqrt(spread / (worth + 2))
    return max(float(min(middle - reach, mean)), -1.0), min(float(max(middle + reach, mean)), 1.0)


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


def drawn_f1(
    labels: np.ndarray, decided: np.ndarray, patients: Sequence, draws: int = DRAWS, seed: int = SEED
) -> np.ndarray:
    """F1 of each draw and class: (draws, classes). Its mean over the classes is the macro F1 of the draw."""
    return f1_of_counts(drawn_sums(decision_counts(labels, decided, patients), draws, seed))


def ranking(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of one class, with scans weighted by `weights`.

    labels (scans,) 0 or 1, scores (scans,), weights (draws, scans). Returns two arrays (draws,). Tied scores are one
    threshold, as in scikit-learn: a tied pair counts half in the AUROC. NaN if a draw lacks positives or, for the
    AUROC, negatives, and if a score is not a number; both are NaN if some labels are unknown and none of the others is
    0.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if not (known := ~np.isnan(labels)).all():
        known &= (labels == 0).any()
        labels, scores, weights = labels[known], scores[known], np.asarray(weights)[:, known]
    labels = labels.astype(bool)
    if not np.isfinite(scores).all() or len(scores) == 0:
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    weights = np.asarray(weights, dtype=np.float64)[:, order]
    everyone = np.add.reduceat(weights, starts, axis=1)
    positive = np.add.reduceat(weights * labels[order], starts, axis=1)
    negative = everyone - positive
    hits, asked = positive.cumsum(axis=1), everyone.cumsum(axis=1)
    positives, negatives = hits[:, -1], asked[:, -1] - hits[:, -1]
    pairs = (negative * (hits - positive / 2)).sum(axis=1)
    precision = np.divide(hits, asked, out=np.zeros_like(hits), where=asked > 0)
    nothing = np.full(len(weights), np.nan)
    auroc = np.divide(pairs, positives * negatives, out=nothing.copy(), where=positives * negatives > 0)
    return auroc, np.divide((positive * precision).sum(axis=1), positives, out=nothing, where=positives > 0)


def drawn_ranking(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: Sequence,
    draws: int = DRAWS,
    seed: int = SEED,
    errors: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of each draw and class: two arrays (draws, classes).

    `errors` adds a prior, as `doubt` does to counts: in each draw a scan of the class is taken for one of the others,
    and one of the others for the class, each with a random weight (a gamma) whose mean is this number of patients.
    """
    places, count = patient_places(patients)
    weights = patient_draws(count, draws, seed)
    steps = max(1, AT_ONCE // max(len(places), 1))
    turned = [_turned(labels[:, column], errors, draws, [seed, count, 4, column]) for column in range(labels.shape[1])]
    heavy = max(len(labels) / max(count, 1), 1.0)
    parts = []
    for start in range(0, draws, steps):
        drawn, part = weights[start : start + steps][:, places], []
        for column, (scans, doubts) in enumerate(turned):
            known, given = labels[:, column], scores[:, column]
            of_all = np.concatenate([drawn, heavy * doubts[start : start + steps]], axis=1)
            part.append(ranking(np.r_[known, 1 - known[scans]], np.r_[given, given[scans]], of_all))
        parts.append(part)
    auroc, precision = np.concatenate([np.transpose(part, (1, 2, 0)) for part in parts], axis=1)
    return auroc, precision


def _turned(labels: np.ndarray, errors: float, draws: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(scans whose label may be flipped, weight of each flip: float (draws, scans)); empty without errors."""
    sides = [np.flatnonzero(labels == side) for side in (0, 1)]
    if not errors or not all(map(len, sides)):
        return np.zeros(0, dtype=int), np.zeros((draws, 0))
    random, weights = np.random.default_rng(seed), np.zeros((draws, 2, MOST_TURNED))
    scans = np.concatenate([random.choice(side, MOST_TURNED) for side in sides])
    for side in range(2):
        weights[np.arange(draws), side, random.integers(MOST_TURNED, size=draws)] = random.gamma(errors, size=draws)
    return scans, weights.reshape(draws, -1)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis, ignoring NaN; NaN if all are NaN."""
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
