"""Runs beside each other, beside chance and beside what others published: runs -> tables with intervals.

Intervals are of 95 %, by bootstrap over the patients of the test split (lungkeras.intervals). They say how far a score
would move with other patients; how far it moves with another seed is what repeated runs show (`seeds`).
"""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungkeras import intervals, metrics
from lungkeras.datasets import DATASETS
from lungkeras.published import published_auroc
from lungkeras.runs import Run, patients_of, repeated_as, split_of

SIGNIFICANT = 0.05
PER_CLASS_COLUMNS = [
    "run", "dataset", "class", "prevalence", "support", "f1", "f1_low", "f1_high", "precision", "recall",
    "auroc", "auroc_low", "auroc_high", "average_precision", "average_precision_low", "average_precision_high",
]  # fmt: skip
PREVALENCE_COLUMNS = [
    "run", "dataset", "normal_share", "natural_share", "macro_f1", "macro_f1_natural", "macro_f1_natural_low",
    "macro_f1_natural_high",
]  # fmt: skip
PAIR_COLUMNS = [
    "dataset", "first", "second", "difference", "low", "high", "p", "p_holm",
    "auroc_difference", "auroc_low", "auroc_high", "auroc_p", "auroc_p_holm",
]  # fmt: skip


def macro_scores(labels: np.ndarray, probabilities: np.ndarray, patients, task: str, decided=None) -> dict[str, float]:
    """macro_f1, macro_auroc and macro_average_precision, each with _low and _high.

    labels, probabilities (scans, classes); `decided`, 0-or-1 of that shape, by default what the probabilities decide.
    Macro AUROC and average precision are means over the classes that have both positives and negatives. All are NaN
    where a probability is no number.
    """
    if not np.isfinite(probabilities).all():
        names = ("macro_f1", "macro_auroc", "macro_average_precision")
        return {f"{name}{end}": float("nan") for name in names for end in ("", "_low", "_high")}
    decided = metrics.decide(probabilities, task) if decided is None else decided
    f1 = intervals.f1_of_counts(intervals.decision_counts(labels, decided, patients).sum(axis=0)).mean()
    found = _with_interval("macro_f1", f1, intervals.drawn_f1(labels, decided, patients).mean(axis=1), patients)
    whole = np.ones((1, len(labels)))
    points = [
        intervals.ranking(labels[:, column], probabilities[:, column], whole) for column in range(labels.shape[1])
    ]
    drawn = intervals.drawn_ranking(labels, probabilities, patients)
    for place, name in enumerate(("macro_auroc", "macro_average_precision")):
        point = intervals.mean_of_defined(np.array([each[place][0] for each in points]))
        found |= _with_interval(name, point, intervals.mean_of_defined(drawn[place]), patients)
    return found


def _with_interval(name: str, point: float, drawn: np.ndarray, patients) -> dict[str, float]:
    low, high = intervals.interval(drawn, len(set(patients)))
    return {name: float(point), f"{name}_low": low, f"{name}_high": high}


def per_class(runs: Mapping[str, Run]) -> pd.DataFrame:
    """A row a run and class of the test split, with PER_CLASS_COLUMNS.

    prevalence is the class's share of the scans, support its number of scans. The interval of F1 and average precision
    is that of the bootstrap over patients; that of AUROC DeLong's for clustered scans.
    """
    rows = []
    for run in runs.values():
        (labels, probabilities), patients = split_of(run, "test"), patients_of(run, "test")
        decided = metrics.decide(probabilities, run.task)
        f1 = intervals.drawn_f1(labels, decided, patients)
        f1[:] = f1 if np.isfinite(probabilities).all() else np.nan
        _, precision = intervals.drawn_ranking(labels, probabilities, patients)
        _, covariance = intervals.delong(labels, probabilities, patients)
        whole = np.ones((1, len(labels)))
        scored = metrics.per_class(labels, probabilities, run.classes, run.task)
        for column, (name, scores) in enumerate(scored.items()):
            average_precision = intervals.ranking(labels[:, column], probabilities[:, column], whole)[1][0]
            low, high = intervals.auroc_interval(scores["auroc"], covariance[column, column])
            rows.append(
                {"run": run.name, "dataset": run.dataset, "class": name, "prevalence": labels[:, column].mean()}
                | scores
                | {"auroc_low": low, "auroc_high": high}
                | _with_interval("f1", scores["f1"], f1[:, column], patients)
                | _with_interval("average_precision", average_precision, precision[:, column], patients)
            )
    return pd.DataFrame(rows, columns=PER_CLASS_COLUMNS)


def natural_prevalence(runs: Mapping[str, Run], left_out: Mapping[str, int], kept: Mapping[str, int]) -> pd.DataFrame:
    """The macro F1 that test scans give where normal scans count as often as the collection has them.

    Args:
        runs: {name: run}; a run of a dataset of which no normal scan was left out has no row.
        left_out, kept: of each dataset the normal scans that its undersampling left out, and those that it kept.

    A row a run, with PREVALENCE_COLUMNS: the share of normal scans in the test split and as the collection would have
    it, the macro F1 as ever, and with each normal scan counted (left out + kept) / kept times, with its interval.
    """
    rows = []
    for run in runs.values():
        if not (left_out.get(run.dataset) and kept.get(run.dataset)):
            continue
        (labels, probabilities), patients = split_of(run, "test"), patients_of(run, "test")
        normal = labels[:, run.classes.index(DATASETS[run.dataset].clear)] == 1
        weights = np.where(normal, 1 + left_out[run.dataset] / kept[run.dataset], 1.0)
        decided = metrics.decide(probabilities, run.task)
        plain, natural = (intervals.decision_counts(labels, decided, patients, each) for each in (None, weights))
        scores = [intervals.f1_of_counts(counts.sum(axis=0)).mean() for counts in (plain, natural)]
        drawn = intervals.f1_of_counts(intervals.drawn_sums(natural)).mean(axis=1)
        if not np.isfinite(probabilities).all():
            scores, drawn = [np.nan, np.nan], np.full_like(drawn, np.nan)
        rows.append(
            {
                "run": run.name,
                "dataset": run.dataset,
                "normal_share": normal.mean(),
                "natural_share": weights[normal].sum() / weights.sum(),
                "macro_f1": scores[0],
            }
            | _with_interval("macro_f1_natural", scores[1], drawn, patients)
        )
    return pd.DataFrame(rows, columns=PREVALENCE_COLUMNS)


def pairs(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Each pair of runs of a dataset on the same test scans, with PAIR_COLUMNS.

    `difference` is the macro F1 of the first less that of the second, with the interval of the paired bootstrap;
    `auroc_...` the same for macro AUROC, with DeLong's. Each p is that of swapping the two runs' answers patient by
    patient; p_holm is adjusted over all pairs.
    """
    rows = []
    for first, second in itertools.combinations(runs.values(), 2):
        if first.dataset != second.dataset or not _same_scans(first, second):
            continue
        (labels, one), (_, other), patients = (
            split_of(first, "test"),
            split_of(second, "test"),
            patients_of(first, "test"),
        )
        f1 = intervals.compare_f1(labels, *(metrics.decide(given, first.task) for given in (one, other)), patients)
        if not np.isfinite([one, other]).all():
            f1 = dict.fromkeys(f1, float("nan"))
        auroc = intervals.compare_auroc(labels, one, other, patients)
        rows.append(
            {"dataset": first.dataset, "first": first.name, "second": second.name}
            | f1
            | {f"auroc_{key}": value for key, value in auroc.items()}
        )
    table = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    for name in ("p", "auroc_p"):
        table[f"{name}_holm"] = intervals.holm(table[name])
    return table


def _same_scans(first: Run, second: Run) -> bool:
    one, other = (run.predictions.loc[run.predictions["split"] == "test", "scan"].tolist() for run in (first, second))
    return one == other


def not_told_apart(run: str, pairs: pd.DataFrame) -> list[str]:
    """The runs whose difference from `run` in macro F1 may be chance: an adjusted p of at least 0.05."""
    alike = pairs[(pairs["p_holm"] >= SIGNIFICANT) & ((pairs["first"] == run) | (pairs["second"] == run))]
    return [row.second if row.first == run else row.first for row in alike.itertuples()]


def seeds(runs: Mapping[str, Run]) -> pd.DataFrame:
    """A row a run that was repeated with other seeds: run, dataset, seeds, and mean, least and most of each score.

    Columns macro_f1_mean, _least, _most and best_epoch_mean, _least, _most, NaN where one of them is undefined. Empty
    where no run was repeated.
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
    """AUROC of xray8's classes beside published ones: a row a class that others report.

    `scores` is what `per_class` gives. Columns: class, then of each run auroc, low and high as `<run>`, `<run>_low`,
    `<run>_high`, then a column a publication (published.yaml, auroc). Tasks, splits and training sets differ.
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
