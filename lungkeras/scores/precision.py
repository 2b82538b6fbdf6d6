"""Average precision and shares with their variance, without resampling, for scans clustered in patients.

Each patient has an influence on a score; influences sum to 0, and their squares give the variance (the infinitesimal
jackknife, Efron 1982). Labels and scores are (scans, columns); a label that is NaN (unknown) does not count.
"""

from collections.abc import Sequence

import numpy as np

from lungkeras.scores.delong import auroc_interval
from lungkeras.scores.intervals import patient_places


def average_precisions(labels: np.ndarray, scores: np.ndarray, patients: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """(average precisions (columns,), influence of each sorted patient on them (patients, columns)).

    Tied scores are one threshold, as in scikit-learn. NaN for a column without positives or negatives.
    """
    places, count = patient_places(patients)
    points, shares = np.full(labels.shape[1], np.nan), np.full((count, labels.shape[1]), np.nan)
    for column in range(labels.shape[1]):
        own = ~np.isnan(labels[:, column])
        positive, given = labels[own, column] == 1, np.asarray(scores[own, column], dtype=np.float64)
        if positive.any() and not positive.all() and np.isfinite(given).all():
            points[column], moves = _average_precision(positive, given)
            shares[:, column] = np.bincount(places[own], moves, minlength=count)
    return points, shares


def _average_precision(positive: np.ndarray, given: np.ndarray) -> tuple[float, np.ndarray]:
    """The average precision, and its derivative by the weight of each scan."""
    levels, at = np.unique(given, return_inverse=True)
    asked, hits = (np.bincount(at, weights, len(levels))[::-1].cumsum()[::-1] for weights in (None, positive))
    here, positives = np.bincount(at, positive, len(levels)), positive.sum()
    precision = hits / asked
    point = float((here * precision).sum() / positives)
    # A scan at or above a level counts in the precision there: as called, and as a hit if it is positive.
    as_hit, as_asked = (here / asked).cumsum(), (here * hits / asked**2).cumsum()
    return point, (positive * (precision[at] - point + as_hit[at]) - as_asked[at]) / positives


def ratios(parts: np.ndarray, wholes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(shares (columns,), influence of each patient) from sums by patient (patients, columns); NaN without any."""
    whole = wholes.sum(axis=0)
    points = np.divide(parts.sum(axis=0), whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return points, (parts - points * wholes) / np.where(whole > 0, whole, np.nan)


def interval_of_shares(point: float, shares: np.ndarray, trials: int) -> tuple[float, float]:
    """The interval of a score in [0, 1] from the influence of each patient (patients,), on the logit scale.

    Student's t with `trials` - 1 degrees of freedom, where `trials` are the patients who have a class or those who lack
    it, whichever are fewer: they determine how well the variance is known. At 0 and 1, the exact binomial limit of
    `trials`; (NaN, NaN) for a single patient.
    """
    count = len(shares)
    if count < 2:
        return float("nan"), float("nan")
    return auroc_interval(point, float(count / (count - 1) * (shares**2).sum()), trials=trials, freedom=trials - 1)
