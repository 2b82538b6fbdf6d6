"""Thresholds of findings with the highest F1, chosen on the validation split only."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lungkeras.evaluation.calibration import ABOUT, about_run
from lungkeras.scores import f1_scores, metrics, paired
from lungkeras.study.runs import Run, patients_of, split_of


def fit_thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The threshold with the highest F1 for each class: (classes,), half way to the next lower probability.

    0.5 for a class without positives, and where nothing is better than 0.5.
    """
    return np.array([_threshold(labels[:, column], probabilities[:, column]) for column in range(labels.shape[1])])


def _threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    given, known = np.asarray(probabilities, dtype=np.float64), ~np.isnan(labels)
    labels, given = labels[known], given[known]
    if not labels.any() or not np.isfinite(given).all():
        return metrics.THRESHOLD
    levels, places = np.unique(given, return_inverse=True)
    candidates = np.concatenate([[metrics.THRESHOLD], levels - np.diff(levels, prepend=0) / 2])
    # How many scans, and how many with the class, lie at each level or above: at 0.5, at its next level.
    below = np.concatenate([[np.searchsorted(levels, metrics.THRESHOLD)], np.arange(len(levels))])
    decided, hits = (
        np.append(np.bincount(places, weights, len(levels))[::-1].cumsum()[::-1], 0)[below]
        for weights in (None, labels == 1)
    )
    return float(candidates[np.argmax(2 * hits / np.maximum(decided + labels.sum(), 1))])


def thresholds(runs: Mapping[str, Run]) -> pd.DataFrame:
    """One row per multilabel run, on its test split at the threshold 0.5 and at those chosen on its validation split.

    Columns: run, dataset, backbone, weights; macro_f1 and macro_f1_tuned with _low and _high; difference with low, high
    and p; contradictory and contradictory_tuned, the share of scans predicted clear and with a finding (if there is a
    class no_finding); then threshold_<class>. All scores are NaN if a probability is NaN or infinite.
    """
    rows = []
    for run in runs.values():
        if run.task != "multilabel":
            continue
        (labels, given), patients = split_of(run, "test"), patients_of(run, "test")
        chosen = fit_thresholds(*split_of(run, "val"))
        row = about_run(run)
        decided = {"": metrics.decide(given, run.task), "_tuned": (given >= chosen).astype(int)}
        for end, calls in decided.items():
            counts = f1_scores.decision_counts(labels, calls, patients)
            f1, (low, high) = f1_scores.macro_f1_of_counts(counts), f1_scores.f1_interval(counts)
            row |= {f"macro_f1{end}": f1, f"macro_f1{end}_low": low, f"macro_f1{end}_high": high}
            row[f"contradictory{end}"] = contradictory(calls, run.classes)
        row |= paired.compare_f1(labels, decided["_tuned"], decided[""], patients)
        if not np.isfinite(given).all():
            row |= {key: np.nan for key in row if key not in ABOUT}
        rows.append(row | {f"threshold_{name}": value for name, value in zip(run.classes, chosen, strict=True)})
    return pd.DataFrame(rows, columns=None if rows else ABOUT)


def contradictory(decided: np.ndarray, classes: Sequence[str], clear: str = "no_finding") -> float:
    """The share of scans called clear and also given a finding; `decided` is 0 or 1, (scans, classes).

    NaN if there is no class `clear`.
    """
    if clear not in classes:
        return float("nan")
    place = list(classes).index(clear)
    others = np.delete(decided, place, axis=1).any(axis=1)
    return float((others & (decided[:, place] == 1)).mean())
