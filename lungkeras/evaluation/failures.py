"""Confident errors: the errors of the test split, the most confident first.

The confidence of an answer is its calibrated probability (`temperature`): that of the logits without the weights of the
loss, divided by the temperatures fitted on the validation split.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungkeras.evaluation.calibration import calibrated
from lungkeras.scores import metrics
from lungkeras.study.runs import Run, main_runs, split_of

MOST = 12  # errors per class
MISSED, CALLED = "missed", "called"
COLUMNS = [
    "run",
    "dataset",
    "class",
    "rank",
    "error",
    "scan",
    "patient",
    "true",
    "predicted",
    "probability",
    "confidence",
]
COUNT_COLUMNS = ["run", "dataset", "class", "scans", "missed", "called", "mostly_called"]


def confident_errors(runs: Mapping[str, Run], most: int = MOST) -> pd.DataFrame:
    """The errors of each run and class on its test split, the most confident first, with COLUMNS.

    error        missed: the scan has the class, but it was not predicted; called (multilabel only): the reverse
    true         the scan's classes, joined by "|"; predicted: the predicted classes
    probability  calibrated, for the predicted class (multiclass) or the class in question (multilabel)
    confidence   that of the wrong answer: `probability`, or 1 - `probability` if a multilabel class was missed

    A run whose probabilities are NaN or infinite has no row.
    """
    parts = [_errors(run, most) for run in runs.values()]
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _errors(run: Run, most: int) -> pd.DataFrame:
    labels, raw = split_of(run, "test")
    if not np.isfinite(raw).all():
        return pd.DataFrame(columns=COLUMNS)
    given = calibrated(run, "test").astype(np.float64)
    decided = metrics.decide(raw, run.task)
    scans = run.predictions[run.predictions["split"] == "test"].reset_index(drop=True)
    rows = []
    for column, name in enumerate(run.classes):
        if run.task == "multiclass":
            probability = confidence = (given * decided).sum(axis=1)
            wrong = (labels[:, column] == 1) & (decided[:, column] == 0)
        else:
            probability = given[:, column]
            confidence = np.where(decided[:, column] == 1, probability, 1 - probability)
            wrong = labels[:, column] == 1 - decided[:, column]  # and known
        places = np.flatnonzero(wrong)
        places = places[np.argsort(-confidence[places], kind="stable")][:most]
        for rank, place in enumerate(places, start=1):
            about = {"run": run.name, "dataset": run.dataset, "class": name, "rank": rank}
            about |= {"error": MISSED if labels[place, column] else CALLED, "scan": scans["scan"][place]}
            about |= {"patient": scans["patient"][place] if "patient" in scans else ""}
            about |= {"true": _names(run, labels[place]), "predicted": _names(run, decided[place])}
            rows.append(about | {"probability": probability[place], "confidence": confidence[place]})
    return pd.DataFrame(rows, columns=COLUMNS)


def _names(run: Run, chosen: np.ndarray) -> str:
    return "|".join(name for name, is_so in zip(run.classes, chosen, strict=True) if is_so == 1)


def error_counts(runs: Mapping[str, Run]) -> pd.DataFrame:
    """The number of errors of each run and class on its test split, with COUNT_COLUMNS.

    `scans` have the class, `missed` of them were not predicted as it, and `called` were wrongly predicted as it. For a
    multiclass run, `mostly_called` is the class that most of the missed scans were given. A run whose probabilities are
    NaN or infinite has no row.
    """
    rows = []
    for run in runs.values():
        labels, raw = split_of(run, "test")
        if not np.isfinite(raw).all():
            continue
        decided = metrics.decide(raw, run.task)
        for column, name in enumerate(run.classes):
            has, gets = labels[:, column] == 1, decided[:, column] == 1
            instead = decided[has & ~gets].sum(axis=0)
            mostly = run.classes[instead.argmax()] if run.task == "multiclass" and instead.any() else ""
            counted = {
                "scans": has.sum(),
                "missed": (has & ~gets).sum(),
                "called": (gets & (labels[:, column] == 0)).sum(),
            }
            about = {"run": run.name, "dataset": run.dataset, "class": name}
            rows.append(about | {key: int(value) for key, value in counted.items()} | {"mostly_called": mostly})
    return pd.DataFrame(rows, columns=COUNT_COLUMNS)


def best_on_validation(runs: Mapping[str, Run]) -> dict[str, str]:
    """{dataset: its run with the highest macro F1 on the validation split}, without the ablation and repeats."""
    best: dict[str, tuple[float, str]] = {}
    for name, run in main_runs(runs).items():
        score = np.nan_to_num(metrics.macro_f1(*split_of(run, "val"), run.task), nan=-1.0)
        if run.dataset not in best or score > best[run.dataset][0]:
            best[run.dataset] = (score, name)
    return {dataset: name for dataset, (_, name) in best.items()}
