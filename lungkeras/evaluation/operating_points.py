"""Sensitivity at a target specificity, class by class: thresholds from validation, evaluated on the test split.

Each of several exclusive classes is compared with all others by its own probability. The value of a positive or
negative answer depends on how common the class is, so predictive values are given at two prevalences.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lungkeras.scores import intervals, share_intervals
from lungkeras.study.runs import Run, patients_of, split_of

SPECIFICITIES = (0.9, 0.95)
PREVALENCES = {"1": 0.01, "10": 0.1}  # in percent, as columns name them
COLUMNS = [
    "run", "dataset", "chosen", "class", "asked", "threshold", "scans", "patients", "sensitivity", "sensitivity_low",
    "sensitivity_high", "specificity", "specificity_low", "specificity_high", "balanced_accuracy",
    "balanced_accuracy_low", "balanced_accuracy_high", *(f"{value}_{name}{edge}" for name in PREVALENCES
    for value in ("ppv", "npv") for edge in ("", "_low", "_high")), "note",
]  # fmt: skip


def threshold_at(labels: np.ndarray, scores: np.ndarray, specificity: float) -> float:
    """The lowest threshold with at least this share of the scans without the class below it.

    labels 0 or 1, scores (scans,); a class is called at or above the threshold, which lies half way to the next higher
    score. NaN without a scan that lacks the class.
    """
    scores = np.asarray(scores, dtype=np.float64)
    negatives = np.sort(scores[np.asarray(labels) == 0])
    if not len(negatives) or not np.isfinite(scores).all():
        return float("nan")
    highest = negatives[int(np.ceil(specificity * len(negatives) - 1e-9)) - 1]
    higher = scores[scores > highest]
    return float((highest + higher.min()) / 2 if len(higher) else np.nextafter(np.float32(highest), np.float32(np.inf)))


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """(positive, negative) predictive value by Bayes' rule; NaN if there is no such answer."""
    hits, alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    clear, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    shares = ((hits, hits + alarms), (clear, clear + missed))
    positive, negative = (part / whole if whole else float("nan") for part, whole in shares)
    return positive, negative


def ratio_interval(above: Sequence[float], below: Sequence[float]) -> tuple[float, float]:
    """The interval of a ratio of two independent, non-negative estimates, each (value, low, high).

    MOVER-R of Newcombe 2016 (doi:10.1177/0962280213502144), with the limits of Donner and Zou 2012. The upper limit is
    infinite where the lower end of `below` is 0.
    """
    (a, a_low, a_high), (b, b_low, b_high) = above, below

    def root(limit: float, other: float) -> float:
        return np.sqrt(max((a * b) ** 2 - limit * other * (2 * a - limit) * (2 * b - other), 0.0))

    # Usually written (a b - root) / (b_high (2 b - b_high)), which is 0 / 0 where b_high is twice b.
    whole = a * b + root(a_low, b_high)
    low = a_low * (2 * a - a_low) / whole if whole else 0.0
    high = (a * b + root(a_high, b_low)) / (b_low * (2 * b - b_low)) if b_low else float("inf")
    return low, high


def predictive_intervals(
    sensitivity: Sequence[float], specificity: Sequence[float], prevalence: float
) -> dict[str, tuple[float, float]]:
    """{"ppv", "npv": (low, high)} at a prevalence, from (value, low, high) of sensitivity and of specificity.

    The odds of a predictive value are the odds of the prevalence times a likelihood ratio. That is a ratio of two
    shares counted on different scans, so its interval is used.
    """
    missed, alarmed = ((1 - value, 1 - high, 1 - low) for value, low, high in (sensitivity, specificity))
    odds = {"ppv": prevalence / (1 - prevalence), "npv": (1 - prevalence) / prevalence}
    ratios = {"ppv": ratio_interval(sensitivity, alarmed), "npv": ratio_interval(specificity, missed)}
    return {name: tuple(1 / (1 + 1 / (odds[name] * edge)) if edge else 0.0 for edge in ratios[name]) for name in odds}


def at_prevalences(sensitivity: Sequence[float], specificity: Sequence[float]) -> dict[str, tuple[float, float, float]]:
    """{ppv_1, npv_1, ...: (value, low, high)} at PREVALENCES, from (value, low, high) of both shares."""
    found = {}
    for title, prevalence in PREVALENCES.items():
        values = predictive_values(sensitivity[0], specificity[0], prevalence)
        ends = predictive_intervals(sensitivity, specificity, prevalence)
        found |= {f"{name}_{title}": (value, *ends[name]) for name, value in zip(("ppv", "npv"), values, strict=True)}
    return found


def operating_points(runs: Mapping[str, Run], chosen: Sequence[str] = ()) -> pd.DataFrame:
    """One row per run, class and target specificity, with COLUMNS.

    The 95 % intervals are exact binomial, for scans clustered in patients; for balanced accuracy, the mean of the two
    shares, by Zou and Donner 2008 (doi:10.1002/sim.3095). No interval, and a note, if fewer than ten test patients have
    the class or lack it. ppv_1, npv_10 are predictive values at a prevalence of 1 and of 10 %, with the intervals of
    `predictive_intervals`. `chosen` names the runs chosen on validation.
    """
    rows = []
    for run in runs.values():
        (known, given), (labels, scores) = split_of(run, "val"), split_of(run, "test")
        patients = patients_of(run, "test")
        for column, name in enumerate(run.classes):
            about = {"run": run.name, "dataset": run.dataset, "chosen": run.name in chosen, "class": name}
            for asked in SPECIFICITIES:
                threshold = threshold_at(known[:, column], given[:, column], asked)
                found = _judged(labels[:, column], scores[:, column], patients, threshold)
                rows.append(about | {"asked": asked, "threshold": threshold} | found)
    return pd.DataFrame(rows, columns=COLUMNS)


def _judged(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, threshold: float) -> dict:
    has, lacks, called = labels == 1, labels == 0, np.asarray(scores, dtype=np.float64) >= threshold
    row = {"scans": int(has.sum()), "patients": len(set(patients[has])), "note": ""}
    if np.isnan(threshold) or not np.isfinite(scores).all() or not has.any() or not lacks.any():
        return row
    few = intervals.rarer_side(labels, patients) < intervals.FEWEST_PATIENTS
    shares = {"sensitivity": (called[has], patients[has]), "specificity": (~called[lacks], patients[lacks])}
    reach = np.zeros((2, 2))
    for place, (name, (right, names)) in enumerate(shares.items()):
        row[name] = float(right.mean())
        if not few:
            low, high = share_intervals.exact_share_interval(right, names)
            row |= {f"{name}_low": low, f"{name}_high": high}
            reach[place] = row[name] - low, high - row[name]
    row["balanced_accuracy"] = (row["sensitivity"] + row["specificity"]) / 2
    if not few:
        below, above = np.sqrt((reach**2).sum(axis=0)) / 2
        row["balanced_accuracy_low"] = max(row["balanced_accuracy"] - below, 0.0)
        row["balanced_accuracy_high"] = min(row["balanced_accuracy"] + above, 1.0)
    judged = ([row.get(f"{share}{edge}", np.nan) for edge in ("", "_low", "_high")] for share in shares)
    for name, triple in at_prevalences(*judged).items():
        row |= {f"{name}{edge}": value for edge, value in zip(("", "_low", "_high"), triple, strict=True)}
    return row | {"note": intervals.TOO_FEW if few else ""}
