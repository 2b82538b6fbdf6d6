"""Calibration of probabilities: the expected calibration error, its interval, and the Brier score.

A NaN label is unknown, and its answer is not counted.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from lungkeras.scores import intervals, metrics, share_intervals

BINS = 15
NULL_DRAWS = 500
LARGEST_SCALE, SCALES = 2.0, 81  # number of gaps searched for an interval


def answers(labels: np.ndarray, probabilities: np.ndarray, task: str) -> tuple[np.ndarray, np.ndarray]:
    """(confidence of each answer, whether it is correct), both float (scans, answers per scan).

    Multiclass: one answer per scan, its most likely class. Multilabel: one answer per scan and class, its probability;
    where the label is unknown, correctness is NaN.
    """
    labels, given = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if task == "multilabel":
        return given, labels.astype(float)
    return given.max(axis=1, keepdims=True), (labels * metrics.decide(given, task)).sum(axis=1, keepdims=True).astype(
        float
    )


def in_bins(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> np.ndarray:
    """For each scan and bin of equal width: the number of answers, their summed confidence, and how many are correct.

    float (scans, 3, bins); a bin includes its upper edge, as in Guo et al.
    """
    places, known = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1), ~np.isnan(correct)
    one_hot = np.eye(bins)[places] * known[..., None]
    parts = (np.ones_like(confidence), confidence, np.where(known, correct, 0.0))
    return np.stack([(one_hot * part[..., None]).sum(axis=1) for part in parts], axis=1)


def error_of_bins(sums: np.ndarray) -> np.ndarray:
    """Expected calibration error of sums (..., 3, bins): the gap of each bin, weighted by its answers."""
    count, confidence, correct = np.moveaxis(sums, -2, 0)
    return np.abs(confidence - correct).sum(axis=-1) / np.maximum(count.sum(axis=-1), 1)


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, task: str, bins: int = BINS) -> float:
    """The mean gap, in [0, 1], between confidence and the fraction of correct answers, over bins of equal width."""
    return float(error_of_bins(in_bins(*answers(labels, probabilities, task), bins).sum(axis=0)))


def class_wise_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """The mean over classes of the calibration error of each class's probability (Nixon et al. 2019, static).

    A class without a known label is left out.
    """
    given, known = np.asarray(probabilities, dtype=np.float64), np.flatnonzero(~np.isnan(labels).all(axis=0))
    columns = [in_bins(given[:, [place]], labels[:, [place]].astype(float), bins) for place in known]
    return float(np.mean([error_of_bins(own.sum(axis=0)) for own in columns]))


def error_interval(sums: np.ndarray, draws: int = intervals.DRAWS) -> tuple[float, float]:
    """The interval of the calibration error, from sums by patient (patients, 3, bins); (NaN, NaN) for one patient.

    Chance adds to each bin's gap, so the observed error is biased upwards, and its bootstrap even more. A test is
    inverted instead: the observed gaps are scaled by a common factor, and the interval holds the errors of those
    factors under which, with the noise of the bootstrap, the observed error has a probability of at least one in
    twenty.

    The error is never below the gap of all answers together, whose interval is Wilson's: so the upper end is not below
    that gap's upper limit, and the lower end not above its lower limit. Without this, the interval covers 0.56 to 0.98
    of simulated test sets of 45, 100 and 300 scans; with it, 0.92 to 1.
    """
    if len(sums) < 2:
        return float("nan"), float("nan")
    total, drawn = sums.sum(axis=0), intervals.drawn_sums(sums, draws)
    gaps = (total[1] - total[2]) / total[0].sum()
    chance = (drawn[:, 1] - drawn[:, 2]) / np.maximum(drawn[:, 0].sum(axis=1), 1)[:, None] - gaps
    seen = np.abs(gaps).sum()
    tail = (1 - intervals.LEVEL) / 2
    scales = np.linspace(0, LARGEST_SCALE, SCALES)
    ends = np.array([np.quantile(np.abs(scale * gaps + chance).sum(axis=1), [tail, 1 - tail]) for scale in scales])
    kept = scales[(ends[:, 0] <= seen) & (seen <= ends[:, 1])] * seen
    step = LARGEST_SCALE / (SCALES - 1) * seen
    low, high = (kept.min(), kept.max()) if len(kept) else (0.0, seen)
    confidence, correct = total[1].sum() / total[0].sum(), total[2].sum() / total[0].sum()
    least, most = share_intervals.share_interval_of_sums(
        np.stack([sums[:, 2].sum(axis=1), sums[:, 0].sum(axis=1)], axis=1)
    )
    low = min(low - step, seen - (most - correct if confidence > correct else correct - least))
    high = max(high, low + step, abs(confidence - least), abs(confidence - most))
    return float(max(low, 0.0)), float(min(high, 1.0))


def brier_of_scans(labels: np.ndarray, probabilities: np.ndarray, task: str) -> np.ndarray:
    """The Brier score of each scan (scans,): squared errors, summed over exclusive classes, else their mean.

    Where labels are unknown, each known label has the same weight: the mean over scans equals the mean over the known
    labels.
    """
    squares = (np.asarray(probabilities, dtype=np.float64) - labels) ** 2
    return squares.sum(axis=1) if task == "multiclass" else _mean_of_known(squares)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """(scans,) of (scans, classes), whose mean is that of all values but NaN."""
    known = ~np.isnan(values)
    return np.where(known, values, 0.0).mean(axis=1) / (1.0 if known.all() else max(known.mean(), 1e-12))


def brier_of_wrong_answers(labels: np.ndarray, probabilities: np.ndarray, task: str) -> np.ndarray:
    """The mean Brier score of each scan (scans,) if another class were true, or one finding were reversed."""
    given, classes = np.asarray(probabilities, dtype=np.float64), labels.shape[1]
    if task == "multiclass":
        of_each = (given**2).sum(axis=1, keepdims=True) - 2 * given + 1
        return (of_each * (1 - labels)).sum(axis=1) / max(classes - 1, 1)
    turned = _mean_of_known((given - (1 - labels)) ** 2 - (given - labels) ** 2) / classes
    return brier_of_scans(labels, probabilities, task) + turned


def null_error(
    confidence: np.ndarray, correct: np.ndarray, patients: Sequence, bins: int = BINS, seed: int = 0
) -> float:
    """The calibration error that a model with these very probabilities stays below in 95 % of test sets, if it is
    perfectly calibrated: with few scans, it is far from 0.

    `confidence` and `correct` (scans, answers) are as `answers` returns them. Correctness is drawn from the
    confidence, with the same correlation within patients as in `correct` (`shared_within_patients`). NaN if no label is
    known.
    """
    random, shared = np.random.default_rng(seed), shared_within_patients(confidence, correct, patients)
    known = ~np.isnan(correct)
    if not known.any():
        return float("nan")
    own, count = intervals.patient_places(patients)
    places = np.clip(np.ceil(confidence.ravel() * bins).astype(int) - 1, 0, bins - 1)
    limits, errors = norm.ppf(confidence), []
    for _ in range(NULL_DRAWS):
        drawn = random.standard_normal(confidence.shape)
        if shared:
            alike = random.standard_normal((count, confidence.shape[1]))[own]
            drawn = np.sqrt(shared) * alike + np.sqrt(1 - shared) * drawn
        gaps = ((drawn < limits) - confidence) * known
        errors.append(np.abs(np.bincount(places, gaps.ravel())).sum() / known.sum())
    return float(np.quantile(errors, intervals.LEVEL))


def shared_within_patients(confidence: np.ndarray, correct: np.ndarray, patients: Sequence) -> float:
    """How similar the correctness of one patient's scans is, from 0 (as between patients) to 1 (all the same).

    The latent (tetrachoric) correlation of correctness, from the residuals `correct - confidence` over all pairs
    of a patient's scans.
    """
    rest, known = (correct - confidence) / np.sqrt(np.maximum(confidence * (1 - confidence), 1e-3)), ~np.isnan(correct)
    counts = np.maximum(known.sum(axis=0), 1)
    rest = np.where(known, rest - np.where(known, rest, 0.0).sum(axis=0) / counts, 0.0)
    sums = intervals.sums_by_patient(np.stack([rest, rest**2, known], axis=1), patients)
    pairs, square = (sums[:, 2] * (sums[:, 2] - 1)).sum(), (rest**2).sum() / max(known.sum(), 1)
    if not pairs or not square:
        return 0.0
    return float(np.sin(np.pi / 2 * np.clip((sums[:, 0] ** 2 - sums[:, 1]).sum() / pairs / square, 0, 1)))
