"""Two models on the same scans: differences and intervals, permutation tests over patients, Holm's adjustment."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta, rankdata
from scipy.stats import t as student

from lungkeras.scores.delong import delong
from lungkeras.scores.f1_scores import decision_counts, doubt, f1_of_counts, of_present
from lungkeras.scores.intervals import DRAWS, LEVEL, SEED, drawn_sums, interval, rarer_side, sums_by_patient
from lungkeras.scores.share_intervals import NO_VARIANCE


def compare_f1(
    labels: np.ndarray,
    decided: np.ndarray,
    others: np.ndarray,
    patients: Sequence,
    draws: int = DRAWS,
    seed: int = SEED,
    patient_count: int | None = None,
) -> dict[str, float]:
    """The macro F1 of one model minus that of another on the same scans: {difference, low, high, p}.

    The interval is that of the paired bootstrap over patients, `p` that of the permutation test. A NaN label is unknown
    and counts for neither model. `patient_count` is the number of patients if `patients` names blocks of them.
    """
    first, second = (of_present(decision_counts(labels, given, patients)) for given in (decided, others))
    if not first.shape[-1]:
        return dict.fromkeys(("difference", "low", "high", "p"), float("nan"))
    point = float(f1_of_counts(first.sum(axis=0)).mean() - f1_of_counts(second.sum(axis=0)).mean())
    drawn = [
        f1_of_counts(drawn_sums(counts, draws, seed) + doubt(counts, draws, seed + own, patient_count)).mean(axis=1)
        for own, counts in enumerate((first, second))
    ]
    low, high = interval(drawn[0] - drawn[1], len(first))
    return {
        "difference": point,
        "low": min(low, point),
        "high": max(high, point),
        "p": p_of_f1(first, second, draws, seed),
    }


def compare_auroc(
    labels: np.ndarray,
    scores: np.ndarray,
    others: np.ndarray,
    patients: Sequence,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, float]:
    """The macro AUROC of one model minus that of another on the same scans: {difference, low, high, p}.

    The interval is DeLong's, with Student's t (one degree of freedom less than patients) instead of the normal
    distribution. If that has zero width, as for two models without errors, it is the exact binomial limit for the
    patients of the rarest side, whom the models may have ranked differently. `p` is that of the permutation test, as
    DeLong's own test rejects too often with few patients. Classes that lack positives or negatives are left out; all
    values are NaN if no class is left. If a class has a single positive or negative, the variance is unknown: all but
    the difference are NaN. A scan whose label is NaN (unknown) is left out of that class.
    """
    labels = np.asarray(labels)
    defined = with_both_signs(labels)
    labels, scores, others = labels[:, defined], scores[:, defined], others[:, defined]
    aurocs, covariance = delong(np.tile(labels, 2), np.concatenate([scores, others], axis=1), patients)
    if not defined or np.isnan(aurocs).any():
        return dict.fromkeys(("difference", "low", "high", "p"), float("nan"))
    contrast = np.repeat([1.0, -1.0], len(defined)) / len(defined)
    difference, variance = float(contrast @ aurocs), contrast @ covariance @ contrast
    if np.isnan(variance):
        return {"difference": difference} | dict.fromkeys(("low", "high", "p"), float("nan"))
    reach = student.ppf((1 + LEVEL) / 2, max(len(set(patients)) - 1, 1)) * float(np.sqrt(max(variance, 0.0)))
    if variance < NO_VARIANCE:
        trials = min(rarer_side(labels[:, column], patients) for column in range(len(defined)))
        reach = 1 - float(beta.ppf((1 - LEVEL) / 2, trials, 1))
    p = p_of_auroc(labels, scores, others, patients, draws, seed)
    low, high = max(difference - reach, -1.0), min(difference + reach, 1.0)
    return {"difference": difference, "low": low, "high": high, "p": p}


def with_both_signs(labels: np.ndarray) -> list[int]:
    """The columns of labels (scans, classes) that hold a 0 and a 1."""
    labels = np.asarray(labels)
    return [
        column for column in range(labels.shape[1]) if (labels[:, column] == 1).any() & (labels[:, column] == 0).any()
    ]


def swaps(patients: int, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """Permutations of a paired test: whose answers are swapped between two models, 0 or 1, float64 (swaps, patients).

    If the models are equal, each permutation is as likely as the observed answers. The share of permutations with a
    difference at least as large is therefore an exact p, whatever the number of patients. All permutations if there are
    at most `draws`; else `draws` random ones and the observed one (no swap).
    """
    if 2**patients <= draws:
        return (np.arange(2**patients)[:, None] >> np.arange(patients) & 1).astype(np.float64)
    drawn = np.random.default_rng([seed, patients, 1]).integers(2, size=(draws + 1, patients)).astype(np.float64)
    drawn[0] = 0
    return drawn


def p_of_f1(first: np.ndarray, second: np.ndarray, draws: int = DRAWS, seed: int = SEED) -> float:
    """p of the difference in macro F1, by the permutation test, from counts (patients, 3, classes) of two models."""
    ways, differences = swaps(len(first), draws, seed), (second - first).reshape(len(first), -1)
    moved = (ways @ differences).reshape(len(ways), *first.shape[1:])
    either = [f1_of_counts(first.sum(axis=0) + moved), f1_of_counts(second.sum(axis=0) - moved)]
    return _share_as_far((either[0] - either[1]).mean(axis=1))


def p_of_auroc(
    labels: np.ndarray,
    scores: np.ndarray,
    others: np.ndarray,
    patients: Sequence,
    draws: int = DRAWS,
    seed: int = SEED,
) -> float:
    """p of the difference in macro AUROC, by a permutation test of ranks, so that the models' scales don't matter.

    Every class must have positives and negatives. A swap changes the difference by a sum over the swapped patients: for
    a pair of a positive and a negative scan, the term that depends on both swaps is the same for either model.
    """
    differences = np.zeros(len(labels))
    for column in range(labels.shape[1]):
        known = np.flatnonzero(~np.isnan(labels[:, column]))
        is_so = labels[known, column] == 1
        ranks = np.stack([rankdata(given[known, column]) for given in (scores, others)])
        for sign, mine in ((1, is_so), (-1, ~is_so)):
            among = np.sort(ranks[:, ~mine], axis=None)
            below = np.searchsorted(among, ranks[:, mine]) + np.searchsorted(among, ranks[:, mine], side="right")
            differences[known[mine]] += sign * (below[0] - below[1]) / (2 * len(among) * mine.sum())
    by_patient = sums_by_patient(differences / labels.shape[1], patients)
    return _share_as_far(by_patient.sum() - 2 * swaps(len(by_patient), draws, seed) @ by_patient)


def _share_as_far(differences: np.ndarray) -> float:
    """The share of differences (swaps,) at least as far from 0 as the first, the observed one."""
    return float((np.abs(differences) >= abs(differences[0]) - 1e-12).mean())


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values (tests,) adjusted by Holm's step-down rule, which controls the family-wise error rate.

    A NaN stays NaN and does not count as a test.
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
