"""Do probabilities mean what they say? Reliability, and the correction and thresholds, both fitted on validation only.

Predictions hold probabilities. Logits are recovered from them; for softmax up to one constant per scan, which does not
change the softmax. A NaN label is unknown, and its answer is not counted.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from lungkeras.scores import f1_scores, intervals, metrics, paired, share_intervals
from lungkeras.scores.temperature import Correction, fit_correction, logits_of, read_correction
from lungkeras.study.runs import Run, patients_of, split_of

BINS = 15
NULL_DRAWS = 500
LARGEST_SCALE, SCALES = 2.0, 81  # number of gaps searched for an interval

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


def in_bins(sure: np.ndarray, so: np.ndarray, bins: int = BINS) -> np.ndarray:
    """For each scan and bin of equal width: the number of answers, their summed confidence, and how many are correct.

    float (scans, 3, bins); a bin includes its upper edge, as in Guo et al.
    """
    places, known = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1), ~np.isnan(so)
    one_hot = np.eye(bins)[places] * known[..., None]
    parts = (np.ones_like(sure), sure, np.where(known, so, 0.0))
    return np.stack([(one_hot * part[..., None]).sum(axis=1) for part in parts], axis=1)


def error_of_bins(sums: np.ndarray) -> np.ndarray:
    """Expected calibration error of sums (..., 3, bins): the gap of each bin, weighted by its answers."""
    count, sure, so = np.moveaxis(sums, -2, 0)
    return np.abs(sure - so).sum(axis=-1) / np.maximum(count.sum(axis=-1), 1)


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
    sure, so = total[1].sum() / total[0].sum(), total[2].sum() / total[0].sum()
    least, most = share_intervals.share_interval_of_sums(
        np.stack([sums[:, 2].sum(axis=1), sums[:, 0].sum(axis=1)], axis=1)
    )
    low = min(low - step, seen - (most - so if sure > so else so - least))
    high = max(high, low + step, abs(sure - least), abs(sure - most))
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


def null_error(sure: np.ndarray, so: np.ndarray, patients: Sequence, bins: int = BINS, seed: int = 0) -> float:
    """The calibration error that a model with these very probabilities stays below in 95 % of test sets, if it is
    perfectly calibrated: with few scans, it is far from 0.

    `sure` and `so` (scans, answers) as `answers` returns them. Correctness is drawn from the confidence, with the same
    correlation within patients as in `so` (`shared_within_patients`). NaN if no label is known.
    """
    random, shared = np.random.default_rng(seed), shared_within_patients(sure, so, patients)
    known = ~np.isnan(so)
    if not known.any():
        return float("nan")
    own, count = intervals.patient_places(patients)
    places = np.clip(np.ceil(sure.ravel() * bins).astype(int) - 1, 0, bins - 1)
    limits, errors = norm.ppf(sure), []
    for _ in range(NULL_DRAWS):
        drawn = random.standard_normal(sure.shape)
        if shared:
            alike = random.standard_normal((count, sure.shape[1]))[own]
            drawn = np.sqrt(shared) * alike + np.sqrt(1 - shared) * drawn
        gaps = ((drawn < limits) - sure) * known
        errors.append(np.abs(np.bincount(places, gaps.ravel())).sum() / known.sum())
    return float(np.quantile(errors, intervals.LEVEL))


def shared_within_patients(sure: np.ndarray, so: np.ndarray, patients: Sequence) -> float:
    """How similar the correctness of one patient's scans is, from 0 (as between patients) to 1 (all the same).

    The latent (tetrachoric) correlation of correctness, from the residuals `so` - `sure` over all pairs of a patient's
    scans.
    """
    rest, known = (so - sure) / np.sqrt(np.maximum(sure * (1 - sure), 1e-3)), ~np.isnan(so)
    counts = np.maximum(known.sum(axis=0), 1)
    rest = np.where(known, rest - np.where(known, rest, 0.0).sum(axis=0) / counts, 0.0)
    sums = intervals.sums_by_patient(np.stack([rest, rest**2, known], axis=1), patients)
    pairs, square = (sums[:, 2] * (sums[:, 2] - 1)).sum(), (rest**2).sum() / max(known.sum(), 1)
    if not pairs or not square:
        return 0.0
    return float(np.sin(np.pi / 2 * np.clip((sums[:, 0] ** 2 - sums[:, 1]).sum() / pairs / square, 0, 1)))


def calibration(runs: Mapping[str, Run]) -> pd.DataFrame:
    """One row per run, on its test split: run, dataset, backbone, weights, temperature, validation_scans, and ece,
    ece_class, brier and loss before and after (`_scaled`) the correction; ece and brier with _low and _high over
    patients (`error_interval`, `intervals.mean_interval`). ece_class is the mean calibration error over classes.
    ece_null, ece_scaled_null: the limit of a perfectly calibrated model in 95 %.
    """
    rows = []
    for run in runs.values():
        (labels, raw), patients, correction = split_of(run, "test"), patients_of(run, "test"), correction_of(run)
        row = _about(run)
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


def _about(run: Run) -> dict[str, str]:
    return dict(zip(ABOUT, (run.name, run.dataset, run.backbone, run.weights), strict=True))


def _errors(labels: np.ndarray, probabilities: np.ndarray, patients: Sequence, task: str) -> dict[tuple, float]:
    """{(score, ending): value}; NaN for all where a probability is NaN or infinite, or no label is known."""
    if not np.isfinite(probabilities).all() or np.isnan(labels).all():
        names = [(key, end) for key in ("ece", "brier") for end in ("", "_low", "_high")]
        return dict.fromkeys([*names, ("ece", "_null"), ("ece_class", ""), ("loss", "")], float("nan"))
    sure, so = answers(labels, probabilities, task)
    sums = intervals.sums_by_patient(in_bins(sure, so), patients)
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
    return found | {("ece", "_null"): null_error(sure, so, patients), ("ece_class", ""): of_classes, ("loss", ""): loss}


def reliability(runs: Mapping[str, Run]) -> pd.DataFrame:
    """What reliability diagrams show, with RELIABILITY_COLUMNS: one row per run, scaling and bin with answers.

    `scaled` says whether the correction was applied; confidence is the mean confidence of the bin's answers, share the
    fraction of them that is correct.
    """
    rows = []
    for run in runs.values():
        (labels, raw), correction = split_of(run, "test"), correction_of(run)
        about = _about(run)
        for is_scaled, given in ((False, raw), (True, correction.probabilities(raw, run.task))):
            if not np.isfinite(given).all():
                continue
            count, sure, so = in_bins(*answers(labels, given, run.task)).sum(axis=0)
            for place in np.flatnonzero(count):
                drawn = {"confidence": sure[place] / count[place], "share": so[place] / count[place]}
                rows.append(about | {"scaled": is_scaled, "bin": place + 1} | drawn | {"answers": int(count[place])})
    return pd.DataFrame(rows, columns=RELIABILITY_COLUMNS)


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
    and p; contradictory and contradictory_tuned, the share of scans called both clear and sick (if there is a class
    no_finding); then threshold_<class>. All scores are NaN if a probability is NaN or infinite.
    """
    rows = []
    for run in runs.values():
        if run.task != "multilabel":
            continue
        (labels, given), patients = split_of(run, "test"), patients_of(run, "test")
        chosen = fit_thresholds(*split_of(run, "val"))
        row = _about(run)
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
