"""The variance of an AUROC without resampling, for scans clustered in patients, and its interval."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from lungkeras.scores.intervals import LEVEL, patient_places
from lungkeras.scores.share_intervals import widened


def delong(
    labels: np.ndarray, scores: np.ndarray, patients: Sequence, known: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs (columns,) and their covariance (columns, columns), without resampling.

    Labels and scores are (scans, columns): a column is a class, or a model's scores for a class. DeLong et al. 1988,
    doi:10.2307/2531595, for scans that are clustered in patients (Obuchowski 1997, doi:10.2307/2533958); where every
    patient has one scan, the two are the same. A scan whose label is NaN (unknown) is left out of that column. NaN for
    a column without positives or negatives.
    """
    aurocs, of_positives, of_negatives, factors = _components(labels, scores, patients)
    count = len(of_positives)
    crossed = of_positives.T @ of_negatives * (count / (count - 1) if count > 1 else np.nan)
    scaled = (of_positives * factors[0], of_negatives * factors[1])
    return aurocs, sum(part.T @ part for part in scaled) + crossed + crossed.T


def auroc_shares(labels: np.ndarray, scores: np.ndarray, patients: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """(AUROCs (columns,), influence of each sorted patient on them, float (patients, columns)).

    Arguments as in `delong`. The influences of a column sum to 0. If patients are drawn w times, the AUROC changes, to
    first order, by the sum of w times their influence; influences are scaled as in `delong`, to correct for few
    patients.
    """
    aurocs, of_positives, of_negatives, factors = _components(labels, scores, patients)
    factors = np.where(np.isnan(factors), 1.0, factors)
    return aurocs, of_positives * factors[0] + of_negatives * factors[1]


def _components(labels, scores, patients) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """AUROCs; what each patient's positive and negative scans add to them (patients, columns); factors (2, columns)."""
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    places, count = patient_places(patients)
    aurocs = np.full(labels.shape[1], np.nan)
    of_positives, of_negatives = np.full((2, count, labels.shape[1]), np.nan)
    factors = np.full((2, labels.shape[1]), np.nan)
    for column in range(labels.shape[1]):
        known = ~np.isnan(labels[:, column])
        is_so, given, own = labels[known, column] == 1, scores[known, column], places[known]
        positives, negatives = int(is_so.sum()), int((~is_so).sum())
        if not positives or not negatives or not np.isfinite(given).all():
            continue
        ranks = rankdata(given)
        above = (ranks[is_so] - rankdata(given[is_so])) / negatives
        below = 1 - (ranks[~is_so] - rankdata(given[~is_so])) / positives
        aurocs[column] = above.mean()
        for place, (mine, components) in enumerate(((is_so, above), (~is_so, below))):
            sums = np.bincount(own[mine], components - aurocs[column], minlength=count) / mine.sum()
            (of_positives, of_negatives)[place][:, column] = sums
            clusters = np.count_nonzero(np.bincount(own[mine], minlength=count))
            factors[place, column] = np.sqrt(clusters / (clusters - 1)) if clusters > 1 else np.nan
    return aurocs, of_positives, of_negatives, factors


def auroc_interval(
    auroc: float, variance: float, level: float = LEVEL, *, trials: int | None = None, freedom: int | None = None
) -> tuple[float, float]:
    """DeLong's interval, on the logit scale so that it stays within 0 and 1.

    At 0 and 1 DeLong's variance is 0, so the limit is the exact binomial one for `trials`, the number of patients of
    the rarer side; each of them might have been ranked wrongly. Without `trials` the interval is (NaN, NaN). With
    degrees of `freedom`, Student's t replaces the normal distribution.
    """
    auroc = float(np.round(auroc, 12))  # a mean of ones may lie below 1
    if trials and not np.isnan(variance) and auroc in (0, 1):
        return widened(auroc, auroc, auroc, trials, level)
    if not (0 < auroc < 1 and variance > 0):
        return float("nan"), float("nan")
    law = student(max(freedom, 1)) if freedom is not None else norm
    reach = law.ppf((1 + level) / 2) * np.sqrt(variance) / (auroc * (1 - auroc))
    return float(expit(logit(auroc) - reach)), float(expit(logit(auroc) + reach))
