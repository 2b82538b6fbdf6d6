"""Runs compared with each other, with chance and with published results: runs -> tables with intervals.

Intervals are of 95 %, by bootstrap over the patients of the test split (lungkeras.scores.intervals). They say how much
a score would vary with other patients; repeated runs show how much it varies with another seed (`seeds`).
"""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungkeras.datasets.registry import known_dataset
from lungkeras.evaluation.paper.published import published_auroc
from lungkeras.scores import delong, f1_scores, intervals, metrics, paired, rankings, share_intervals
from lungkeras.study.runs import Run, patients_of, repeated_as, split_of

SIGNIFICANT = 0.05
NO_LABELS = "all known labels are the same"
AUROC = ("macro_auroc", "macro_auroc_low", "macro_auroc_high")
PER_CLASS_COLUMNS = [
    "run", "dataset", "class", "prevalence", "support", "known", "f1", "f1_low", "f1_high", "precision", "recall",
    "auroc", "auroc_low", "auroc_high", "average_precision", "average_precision_low", "average_precision_high", "note",
]  # fmt: skip
PREVALENCE_COLUMNS = [
    "run", "dataset", "normal_share", "natural_share", "list_share", "macro_f1", "macro_f1_natural",
    "macro_f1_natural_low", "macro_f1_natural_high",
]  # fmt: skip
PAIR_COLUMNS = [
    "dataset", "first", "second", "difference", "low", "high", "p", "p_holm",
    "auroc_difference", "auroc_low", "auroc_high", "auroc_p", "auroc_p_holm",
]  # fmt: skip

BASELINE_COLUMNS = [
    "dataset", "run", "baseline", "macro_f1", "baseline_macro_f1", "difference", "low", "high", "p", "p_holm",
    "auroc_difference", "auroc_low", "auroc_high", "auroc_p", "auroc_p_holm", "better",
]  # fmt: skip


def macro_scores(labels: np.ndarray, probabilities: np.ndarray, patients, task: str, decided=None) -> dict[str, float]:
    """macro_f1, macro_auroc and macro_average_precision, each with _low and _high.

    labels, probabilities (scans, classes); `decided`, 0 or 1 in that shape, by default the decisions of the
    probabilities. Macro AUROC and average precision are means over the classes that have both positives and negatives.
    All are NaN if a probability is NaN or infinite.
    """
    if not np.isfinite(probabilities).all():
        names = ("macro_f1", "macro_auroc", "macro_average_precision")
        return {f"{name}{end}": float("nan") for name in names for end in ("", "_low", "_high")}
    decided = metrics.decide(probabilities, task) if decided is None else decided
    counts = f1_scores.decision_counts(labels, decided, patients)
    low, high = f1_scores.f1_interval(counts)
    found = {"macro_f1": f1_scores.macro_f1_of_counts(counts), "macro_f1_low": low, "macro_f1_high": high}
    whole = np.ones((1, len(labels)))
    points = [rankings.ranking(labels[:, column], probabilities[:, column], whole) for column in range(labels.shape[1])]
    _, drawn = rankings.drawn_ranking(labels, probabilities, patients, errors=intervals.PRIOR_ERRORS)
    auroc, precision = (intervals.mean_of_defined(np.array([each[place][0] for each in points])) for place in (0, 1))
    found |= dict(zip(AUROC, (float(auroc), *macro_auroc_interval(labels, probabilities, patients)), strict=True))
    trials = min((intervals.rarer_side(labels[:, column], patients) for column in range(labels.shape[1])), default=0)
    drawn = intervals.mean_of_defined(drawn)
    return found | _precision_interval("macro_average_precision", precision, drawn, patients, trials)


def macro_auroc_interval(labels: np.ndarray, probabilities: np.ndarray, patients) -> tuple[float, float]:
    """DeLong's interval of the mean AUROC of the classes that have positives and negatives; (NaN, NaN) without any."""
    labels, defined = np.asarray(labels), paired.with_both_signs(labels)
    if not defined:
        return float("nan"), float("nan")
    aurocs, covariance = delong.delong(labels[:, defined], probabilities[:, defined], patients)
    trials = min(intervals.rarer_side(labels[:, column], patients) for column in defined)
    return delong.auroc_interval(float(aurocs.mean()), float(covariance.mean()), trials=trials)


def _precision_interval(name: str, point: float, drawn: np.ndarray, patients, trials: int) -> dict[str, float]:
    """An average precision and its interval from draws of patients, which holds it and is never of zero width."""
    point, (low, high) = float(point), intervals.interval(drawn, len(set(patients)))
    low, high = share_intervals.widened(min(low, point), max(high, point), point, max(trials, 1))
    return {name: point, f"{name}_low": low, f"{name}_high": high}


def class_scores(runs: Mapping[str, Run]) -> pd.DataFrame:
    """One row per run and class of the test split, with PER_CLASS_COLUMNS.

    support is the number of scans with the class, known the number of scans whose label is known, and prevalence their
    ratio. The intervals of F1 and average precision come from the bootstrap over patients with a prior for unseen
    errors; that of AUROC is DeLong's for clustered scans. If fewer than ten patients have a class, or lack it, there is
    no interval and `note` is "too few"; it is NO_LABELS for a class that can't be scored (`metrics.known_only`).
    """
    rows = []
    for run in runs.values():
        (labels, probabilities), patients = split_of(run, "test"), patients_of(run, "test")
        decided = metrics.decide(probabilities, run.task)
        counts = f1_scores.decision_counts(labels, decided, patients)
        _, precision = rankings.drawn_ranking(labels, probabilities, patients, errors=intervals.PRIOR_ERRORS)
        _, covariance = delong.delong(labels, probabilities, patients)
        whole = np.ones((1, len(labels)))
        scored = metrics.per_class(labels, probabilities, run.classes, run.task)
        for column, (name, scores) in enumerate(scored.items()):
            average_precision = rankings.ranking(labels[:, column], probabilities[:, column], whole)[1][0]
            trials = intervals.rarer_side(labels[:, column], patients)
            low, high = delong.auroc_interval(scores["auroc"], covariance[column, column], trials=trials)
            f1_low, f1_high = f1_scores.f1_interval(counts, column=column)
            if np.isnan(scores["f1"]):
                f1_low = f1_high = np.nan
            few = trials < intervals.FEWEST_PATIENTS
            precise = _precision_interval(
                "average_precision", average_precision, precision[:, column], patients, trials
            )
            row = {"run": run.name, "dataset": run.dataset, "class": name}
            row["prevalence"] = scores["support"] / scores["known"] if scores["known"] else np.nan
            row |= scores | {"auroc_low": low, "auroc_high": high, "f1_low": f1_low, "f1_high": f1_high} | precise
            if few:
                row |= dict.fromkeys((key for key in row if key.endswith(("_low", "_high"))), np.nan)
            note = NO_LABELS if not trials and scores["known"] < len(labels) else intervals.TOO_FEW if few else ""
            rows.append(row | {"note": note})
    return pd.DataFrame(rows, columns=PER_CLASS_COLUMNS)


def natural_prevalence(
    runs: Mapping[str, Run],
    left_out: Mapping[str, int],
    kept: Mapping[str, int],
    listed: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """The macro F1 on the test scans with normal scans weighted to their frequency in the collection.

    Args:
        runs: {name: run}; a run of a dataset that left out no normal scan has no row.
        left_out, kept: per dataset, the normal scans that its undersampling left out, and those that it kept.
        listed: per dataset, the scans of the whole list, including those of other findings.

    One row per run, with PREVALENCE_COLUMNS: the share of normal scans in the test split, among the studied classes
    (natural_share) and in the whole list (list_share), the usual macro F1, and the one with each normal scan counted
    (left out + kept) / kept times, with its interval.
    """
    rows = []
    for run in runs.values():
        if not (left_out.get(run.dataset) and kept.get(run.dataset)):
            continue
        (labels, probabilities), patients = split_of(run, "test"), patients_of(run, "test")
        normal = labels[:, run.classes.index(known_dataset(run.dataset).clear)] == 1
        weights = np.where(normal, 1 + left_out[run.dataset] / kept[run.dataset], 1.0)
        decided = metrics.decide(probabilities, run.task)
        plain, natural = (f1_scores.decision_counts(labels, decided, patients, each) for each in (None, weights))
        scores = [f1_scores.macro_f1_of_counts(counts) for counts in (plain, natural)]
        low, high = f1_scores.f1_interval(natural)
        if not np.isfinite(probabilities).all():
            scores, low, high = [np.nan, np.nan], np.nan, np.nan
        rows.append(
            {
                "run": run.name,
                "dataset": run.dataset,
                "normal_share": normal.mean(),
                "natural_share": weights[normal].sum() / weights.sum(),
                "list_share": (left_out[run.dataset] + kept[run.dataset]) / listed[run.dataset] if listed else np.nan,
                "macro_f1": scores[0],
            }
            | {"macro_f1_natural": scores[1], "macro_f1_natural_low": low, "macro_f1_natural_high": high}
        )
    return pd.DataFrame(rows, columns=PREVALENCE_COLUMNS)


def pairs(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Each pair of runs of a dataset on the same test scans, with PAIR_COLUMNS.

    `difference` is the macro F1 of the first minus that of the second, with the interval of the paired bootstrap;
    `auroc_...` is the same for macro AUROC, with DeLong's interval. Each p is that of a permutation test that swaps the
    two runs' answers patient by patient; p_holm is adjusted over all pairs.
    """
    rows = []
    for first, second in itertools.combinations(runs.values(), 2):
        if first.dataset != second.dataset or not _same_scans(first, second):
            continue
        names = {"dataset": first.dataset, "first": first.name, "second": second.name}
        rows.append(names | compared(first, split_of(second, "test")[1]))
    table = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    for name in ("p", "auroc_p"):
        table[f"{name}_holm"] = paired.holm(table[name])
    return table


def against(runs: Mapping[str, Run], baselines: Mapping[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    """Each run against each baseline on the same test scans, with BASELINE_COLUMNS.

    `baselines` is {(dataset, baseline): probabilities of the test scans, in the order of the prepared dataset}, which
    is also that of the predictions. Differences are run minus baseline, paired as in `pairs`; each p is adjusted over
    all runs compared with the same baseline. `better` is "yes" if the macro F1 is higher with an adjusted p below 0.05,
    "worse" if it is significantly lower, else "cannot tell".
    """
    rows = []
    for run in runs.values():
        labels, one = split_of(run, "test")
        for (dataset, name), other in baselines.items():
            if dataset != run.dataset:
                continue
            if other.shape != one.shape:
                raise ValueError(
                    f"{run.name}: the baseline {name} answers {other.shape} scans and classes, the run {one.shape}: "
                    "expected the same test split."
                )
            names = {"dataset": dataset, "run": run.name, "baseline": name}
            scores = {
                "macro_f1": metrics.macro_f1(labels, one, run.task),
                "baseline_macro_f1": metrics.macro_f1(labels, other, run.task),
            }
            rows.append(names | scores | compared(run, other))
    return with_verdicts(pd.DataFrame(rows, columns=BASELINE_COLUMNS))


def with_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """A table of comparisons with baselines, one row each, with p_holm, auroc_p_holm and `better`, as in `against`."""
    adjusted = {
        f"{name}_holm": table.groupby("baseline")[name].transform(lambda p: paired.holm(p.to_numpy()))
        for name in ("p", "auroc_p")
    }
    significant, higher = adjusted["p_holm"] < SIGNIFICANT, table["difference"] > 0
    return table.assign(
        **adjusted, better=np.select([significant & higher, significant], ["yes", "worse"], "cannot tell")
    )


def compared(run: Run, other: np.ndarray) -> dict[str, float]:
    """The differences in macro F1 and macro AUROC of a run minus `other`, probabilities of the same test scans."""
    (labels, one), patients = split_of(run, "test"), patients_of(run, "test")
    f1 = paired.compare_f1(labels, *(metrics.decide(given, run.task) for given in (one, other)), patients)
    if not np.isfinite([one, other]).all():
        f1 = dict.fromkeys(f1, float("nan"))
    auroc = paired.compare_auroc(labels, one, other, patients)
    return f1 | {f"auroc_{key}": value for key, value in auroc.items()}


def _same_scans(first: Run, second: Run) -> bool:
    """Whether two runs were tested on the same scans with the same labels, which depend on the policy."""
    one, other = (run.predictions.loc[run.predictions["split"] == "test", "scan"].tolist() for run in (first, second))
    labels = (split_of(run, "test")[0] for run in (first, second))
    return one == other and first.classes == second.classes and np.array_equal(*labels, equal_nan=True)


def not_significantly_different(run: str, pairs: pd.DataFrame) -> list[str]:
    """The runs not significantly different from `run` in macro F1: an adjusted p of at least 0.05."""
    alike = pairs[(pairs["p_holm"] >= SIGNIFICANT) & ((pairs["first"] == run) | (pairs["second"] == run))]
    return [row.second if row.first == run else row.first for row in alike.itertuples()]


def seeds(runs: Mapping[str, Run]) -> pd.DataFrame:
    """One row per run repeated with other seeds: run, dataset, seeds, and mean, minimum and maximum of each score.

    Columns macro_f1_mean, _least, _most and best_epoch_mean, _least, _most, NaN if one of them is undefined. Empty if
    no run was repeated.
    """
    groups: dict[str, list[Run]] = {}
    for name, run in runs.items():
        groups.setdefault(repeated_as(name), []).append(run)
    rows = []
    for name, group in groups.items():
        if len(group) < 2:
            continue
        f1 = [metrics.macro_f1(*split_of(run, "test"), run.task) for run in group]
        epochs = [run.best_epoch for run in group]
        row = {"run": name, "dataset": group[0].dataset, "seeds": len(group)}
        for key, values in (("macro_f1", f1), ("best_epoch", epochs)):
            row |= {f"{key}_mean": np.mean(values), f"{key}_least": np.min(values), f"{key}_most": np.max(values)}
        rows.append(row)
    spread = [f"{key}_{kind}" for key in ("macro_f1", "best_epoch") for kind in ("mean", "least", "most")]
    return pd.DataFrame(rows, columns=["run", "dataset", "seeds", *spread])


def auroc_beside_published(scores: pd.DataFrame) -> pd.DataFrame:
    """AUROC of xray8's classes next to published ones: one row per class that others report.

    `scores` is the table of `class_scores`. Columns: class, then for each run auroc, low and high as `<run>`,
    `<run>_low`, `<run>_high`, then one column per publication (published.yaml, auroc). Tasks, splits and training sets
    differ.
    """
    own = scores[scores["dataset"] == "xray8"]
    rows = []
    for name, elsewhere in published_auroc().items():
        row = {"class": name}
        for entry in own[own["class"] == name].itertuples():
            row |= {entry.run: entry.auroc, f"{entry.run}_low": entry.auroc_low, f"{entry.run}_high": entry.auroc_high}
        if len(row) > 1:
            rows.append(row | elsewhere)
    return pd.DataFrame(rows, columns=None if rows else ["class"])
