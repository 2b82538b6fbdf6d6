"""Are the probabilities of runs calibrated? Calibration error and reliability, before and after a correction.

The correction is fitted on the validation split only. Predictions hold probabilities, from which logits are recovered:
with softmax, up to a constant per scan that does not change the softmax.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lungkeras.scores import intervals, metrics
from lungkeras.scores.calibration_error import (
    answers,
    brier_of_scans,
    brier_of_wrong_answers,
    class_wise_error,
    error_interval,
    error_of_bins,
    in_bins,
    null_error,
)
from lungkeras.scores.temperature import Correction, fit_correction, logits_of, read_correction
from lungkeras.study.runs import Run, patients_of, split_of

ABOUT = ["run", "dataset", "backbone", "weights"]
RELIABILITY_COLUMNS = [*ABOUT, "scaled", "bin", "confidence", "share", "answers"]


def correction_of(run: Run) -> Correction:
    """The calibration correction of a run, as stored with it, else fitted on its predictions.

    An older run with a weighted loss stores a temperature fitted without removing the weights: it is fitted again.
    """
    weighs = run.task == "multilabel" and run.params.get("class_weights", False)
    if "temperatures" in run.metrics or ("temperature" in run.metrics and not weighs):
        return read_correction(run.metrics, len(run.classes))
    weights = metrics.positive_weights(split_of(run, "train")[0]) if weighs else None
    return fit_correction(*split_of(run, "val"), run.task, weights)


def calibrated(run: Run, split: str) -> np.ndarray:
    """The calibrated probabilities of a split, float32 (scans, classes)."""
    return correction_of(run).probabilities(split_of(run, split)[1], run.task)


def temperature_of(run: Run) -> float:
    """The temperature of `correction_of`: the geometric mean over classes."""
    return correction_of(run).temperature


def calibration(runs: Mapping[str, Run]) -> pd.DataFrame:
    """One row per run, on its test split: run, dataset, backbone, weights, temperature, validation_scans, and ece,
    ece_class, brier and loss before and after (`_scaled`) the correction; ece and brier with _low and _high over
    patients (`error_interval`, `intervals.mean_interval`). ece_class is the mean calibration error over classes.
    ece_null, ece_scaled_null: the limit of a perfectly calibrated model in 95 %.
    """
    rows = []
    for run in runs.values():
        (labels, raw), patients, correction = split_of(run, "test"), patients_of(run, "test"), correction_of(run)
        row = about_run(run)
        row |= {
            "temperature": correction.temperature,
            "validation_scans": int((run.predictions["split"] == "val").sum()),
        }
        for end, given in (("", raw), ("_scaled", correction.probabilities(raw, run.task))):
            row |= {
                f"{key[0]}{end}{key[1]}": value for key, value in _errors(labels, given, patients, run.task).items()
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else ABOUT)


def about_run(run: Run) -> dict[str, str]:
    return dict(zip(ABOUT, (run.name, run.dataset, run.backbone, run.weights), strict=True))


def _errors(labels: np.ndarray, probabilities: np.ndarray, patients: Sequence, task: str) -> dict[tuple, float]:
    """{(score, ending): value}; NaN for all where a probability is NaN or infinite, or no label is known."""
    if not np.isfinite(probabilities).all() or np.isnan(labels).all():
        names = [(key, end) for key in ("ece", "brier") for end in ("", "_low", "_high")]
        return dict.fromkeys([*names, ("ece", "_null"), ("ece_class", ""), ("loss", "")], float("nan"))
    confidence, correct = answers(labels, probabilities, task)
    sums = intervals.sums_by_patient(in_bins(confidence, correct), patients)
    brier = brier_of_scans(labels, probabilities, task)
    found = {}
    wrong = brier_of_wrong_answers(labels, probabilities, task)
    for name, point, (low, high) in (
        ("ece", error_of_bins(sums.sum(axis=0)), error_interval(sums)),
        ("brier", brier.mean(), intervals.mean_interval(brier, wrong, patients)),
    ):
        found |= {(name, ""): float(point), (name, "_low"): min(low, float(point)), (name, "_high"): max(high, point)}
    loss = metrics.cross_entropy(labels, logits_of(probabilities, task), task)
    of_classes = class_wise_error(labels, probabilities)
    return found | {
        ("ece", "_null"): null_error(confidence, correct, patients),
        ("ece_class", ""): of_classes,
        ("loss", ""): loss,
    }


def within_chance(table: pd.DataFrame) -> tuple[pd.DataFrame, int, int]:
    """(rows of `calibration` with an error, how many errors are within chance as trained, and how many corrected).

    Chance is the limit of a perfectly calibrated model in 95 % of test sets.
    """
    judged = ["ece", "ece_null", "ece_scaled", "ece_scaled_null"]
    known = table.dropna(subset=judged) if len(table) else table
    if known.empty:
        return known, 0, 0
    pairs = (("ece", "ece_null"), ("ece_scaled", "ece_scaled_null"))
    return known, *(int((known[error] <= known[limit]).sum()) for error, limit in pairs)


def reliability(runs: Mapping[str, Run]) -> pd.DataFrame:
    """What reliability diagrams show, with RELIABILITY_COLUMNS: one row per run, scaling and bin with answers.

    `scaled` says whether the correction was applied; confidence is the mean confidence of the bin's answers, share the
    fraction of them that is correct.
    """
    rows = []
    for run in runs.values():
        (labels, raw), correction = split_of(run, "test"), correction_of(run)
        about = about_run(run)
        for is_scaled, given in ((False, raw), (True, correction.probabilities(raw, run.task))):
            if not np.isfinite(given).all():
                continue
            count, confidence, correct = in_bins(*answers(labels, given, run.task)).sum(axis=0)
            for place in np.flatnonzero(count):
                drawn = {"confidence": confidence[place] / count[place], "share": correct[place] / count[place]}
                rows.append(about | {"scaled": is_scaled, "bin": place + 1} | drawn | {"answers": int(count[place])})
    return pd.DataFrame(rows, columns=RELIABILITY_COLUMNS)
