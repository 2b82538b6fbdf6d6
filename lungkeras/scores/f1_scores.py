"""F1 from counts of hits, decisions and positives, and its interval over patients.

Labels and decisions are 0-or-1 arrays (scans, classes); counts are float64 (patients, 3, classes), so that a draw of
patients is a weighted sum of them. A scan whose label is NaN (unknown) is left out of that class.
"""

from collections.abc import Sequence

import numpy as np

from lungkeras.scores.intervals import DRAWS, PRIOR_ERRORS, SEED, drawn_sums, interval, sums_by_patient
from lungkeras.scores.metrics import known_only


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


def drawn_f1(
    labels: np.ndarray, decided: np.ndarray, patients: Sequence, draws: int = DRAWS, seed: int = SEED
) -> np.ndarray:
    """F1 of each draw and class: (draws, classes). Its mean over the classes is the macro F1 of the draw."""
    return f1_of_counts(drawn_sums(decision_counts(labels, decided, patients), draws, seed))
