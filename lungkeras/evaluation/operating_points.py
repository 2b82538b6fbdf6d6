"""Sensitivity at a specificity that is asked for, class by class: thresholds from validation, judged on the test split.

Each of several exclusive classes is compared with all others by its own probability. What a positive or negative answer
is worth depends on how common the class is, so that predictive values are given at two prevalences.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lungkeras.scores import intervals
from lungkeras.study.runs import Run, patients_of, split_of

SPECIFICITIES = (0.9, 0.95)
PREVALENCES = {"1": 0.01, "10": 0.1}  # in percent, as columns name them
COLUMNS = [
    "run", "dataset", "chosen", "class", "asked", "threshold", "scans", "patients", "sensitivity", "sensitivity_low",
    "sensitivity_high", "specificity", "specificity_low", "specificity_high", "balanced_accuracy",
    "balanced_accuracy_low", "balanced_accuracy_high", *(f"{value}_{name}" for name in PREVALENCES
    for value in ("ppv", "npv")), "note",
]  # fmt: skip


def threshold_at(labels: np.ndarray, scores: np.ndarray, specificity: float) -> float:
    """A threshold that leaves at least this share of the scans without the class below it, and no more than it must.

    labels 0 or 1, scores (scans,); a class is called from the threshold on, which lies half way to the next higher
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
    """(positive, negative) predictive value by Bayes' rule; NaN where there is no such answer."""
    hits, alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    clear, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    shares = ((hits, hits + alarms), (clear, clear + missed))
    positive, negative = (part / whole if whole else float("nan") for part, whole in shares)
    return positive, negative


def operating_points(runs: Mapping[str, Run], chosen: Sequence[str] = ()) -> pd.DataFrame:
    """One row per run, class and specificity that is asked for, with COLUMNS.

    Intervals are of 95 %: exact binomial, for scans clustered in patients; of balanced accuracy, the mean of the two
    shares, that of their sum by Zou and Donner 2008 (doi:10.1002/sim.3095). None, and a note, where fewer than ten test
    patients have the class or lack it. ppv_1, npv_10 are predictive values at a prevalence of 1 and of 10 %. `chosen`
    names the runs that validation chose.
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
            low, high = intervals.exact_share_interval(right, names)
            row |= {f"{name}_low": low, f"{name}_high": high}
            reach[place] = row[name] - low, high - row[name]
    row["balanced_accuracy"] = (row["sensitivity"] + row["specificity"]) / 2
    if not few:
        below, above = np.sqrt((reach**2).sum(axis=0)) / 2
        row["balanced_accuracy_low"] = max(row["balanced_accuracy"] - below, 0.0)
        row["balanced_accuracy_high"] = min(row["balanced_accuracy"] + above, 1.0)
    for name, prevalence in PREVALENCES.items():
        values = predictive_values(row["sensitivity"], row["specificity"], prevalence)
        row |= dict(zip((f"ppv_{name}", f"npv_{name}"), values, strict=True))
    return row | {"note": intervals.TOO_FEW if few else ""}
