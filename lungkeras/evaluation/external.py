"""Models tested on another collection, on the scans that external_rules allows, without those copied in their own."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungkeras.datasets.findings import shared_classes
from lungkeras.evaluation.comparison import macro_scores
from lungkeras.evaluation.external_rules import FEWEST_SCANS, Rule, allowed, impossible, refused, rules
from lungkeras.evaluation.run_tables import resized
from lungkeras.evaluation.shared_scans import Collection, copies, datasets_seen
from lungkeras.scores import intervals, metrics, share_intervals
from lungkeras.study.runs import Run, patients_of, split_of
from lungkeras.training.outputs import outputs

COLUMNS = [
    "run", "dataset", "other", "measure", "class", "scans", "patients", "value", "low", "high",
    "own_scans", "own_value", "own_low", "own_high",
]  # fmt: skip
MACROS = ("macro_f1", "macro_auroc")


def external_validation(
    runs: Mapping[str, Run], collections: Mapping[str, Collection], load, every_run: Mapping[str, Run] | None = None
) -> pd.DataFrame:
    """The score of each run on another collection, next to the same measure on its own test split, with COLUMNS.

    measure is `recall` (the share of the scans of `class` that are predicted as it), macro_f1 or macro_auroc. With only
    one class nothing is scored, as a constant answer would have a recall of 1. A run chooses among the classes that
    both collections share, on its own test split too. All splits of the other collection are used; of a collection that
    the run's weights come from, only the test split. A class of fewer than 20 scans is not scored. Intervals are 95 %
    intervals over patients.

    `load` returns the keras.Model of a run by its name; `every_run`, by default `runs`, holds the runs that weights
    come from. Runs whose weights are of unknown origin are left out.
    """
    rows = []
    for rule in rules(collections, collections):
        if impossible(rule, collections):
            continue
        other = collections[rule.other]
        may = allowed(rule, other)
        for run in runs.values():
            seen = datasets_seen(run, every_run or runs)
            if run.dataset != rule.dataset or seen is None or not set(seen) - {rule.other} <= set(collections):
                continue
            kept = may.copy()
            if rule.other in seen:
                kept &= (other.records["split"] == "test").to_numpy()
            copied = {name: copies(collections[name], other, may) for name in seen if name != rule.other}
            if any(refused(name, rule.other, may, found) for name, found in copied.items()):
                continue
            kept &= ~np.any([*copied.values()], axis=0)
            rows += _scores(run, rule, other, kept, load)
    return pd.DataFrame(rows, columns=COLUMNS)


def _scores(run: Run, rule: Rule, other: Collection, kept: np.ndarray, load) -> list[dict]:
    shared = shared_classes(run.dataset, run.classes, rule.other, other.prepared.classes)
    truth = dict(zip(shared, other.labels(list(shared.values())).T, strict=True))
    signs = (1,) if run.task == "multiclass" else (1, 0)
    scored = [name for name in rule.classes if min((truth[name][kept] == sign).sum() for sign in signs) >= FEWEST_SCANS]
    # A model that always answers with the one class would have a recall of 1.
    if len(scored) < 2:
        return []
    classes = tuple(shared if run.task == "multiclass" else scored)
    if run.task == "multiclass":
        kept = kept & np.any([truth[name] == 1 for name in scored], axis=0)
    rows = np.flatnonzero(kept)
    model = load(run.name)
    images = np.stack([resized(image, model.input_shape[1]) for image in other.images(rows)])
    columns = [run.classes.index(name) for name in classes]
    # The softmax over some of the logits is the softmax over all, divided by its sum over these.
    given = metrics.probabilities(outputs(model, images)[:, columns], run.task)
    records = other.records.iloc[rows]
    patients = records["patient"].to_numpy(str)
    own = np.stack([truth[name][rows] for name in classes], axis=1)
    own = own if np.isnan(own).any() else own.astype(int)
    found = _measures(own, given, patients, classes, scored, run.task)
    own = {(row["measure"], row["class"]): row for row in _own(run, classes, scored)}
    about = {"run": run.name, "dataset": run.dataset, "other": rule.other}
    beside = {"own_scans": "scans", "own_value": "value", "own_low": "low", "own_high": "high"}
    return [
        about | row | {key: own[row["measure"], row["class"]][source] for key, source in beside.items()}
        for row in found
    ]


def _own(run: Run, classes: tuple[str, ...], scored: list[str]) -> list[dict]:
    """The same measures on the run's own test scans of the classes that are scored."""
    labels, given = split_of(run, "test")
    columns, patients = [run.classes.index(name) for name in classes], patients_of(run, "test")
    if run.task == "multiclass":
        rows = labels[:, [run.classes.index(name) for name in scored]].any(axis=1)
        labels, given, patients = labels[rows], given[rows], patients[rows]
    given = given[:, columns]
    if run.task == "multiclass":
        given = given / np.maximum(given.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return _measures(labels[:, columns], given, patients, classes, scored, run.task)


def _measures(
    labels, given, patients, classes: tuple[str, ...], scored: list[str], task: str = "multiclass"
) -> list[dict]:
    """The recall of each class of `scored`, from arrays (scans, classes), and macro scores if these are two or more.

    A recall over fewer than ten patients has no interval. NaN if a probability is NaN or infinite.
    """
    decided, rows = metrics.decide(given, task), []
    defined = 1.0 if np.isfinite(given).all() else np.nan
    for name in scored:
        column = classes.index(name)
        has = labels[:, column] == 1
        hits, of_class = defined * decided[has, column], patients[has]
        value, low, high = np.nan, np.nan, np.nan
        if has.any():
            value = float(hits.mean())
            if len(set(of_class)) >= intervals.FEWEST_PATIENTS:
                low, high = share_intervals.share_interval(hits, of_class)
        counted = {"scans": int(has.sum()), "patients": len(set(of_class))}
        rows.append({"measure": "recall", "class": name} | counted | {"value": value, "low": low, "high": high})
    if len(scored) > 1:
        scores = macro_scores(labels, given, patients, task, decided=decided)
        for name in MACROS:
            ends = {"value": scores[name], "low": scores[f"{name}_low"], "high": scores[f"{name}_high"]}
            rows.append({"measure": name, "class": "", "scans": len(labels), "patients": len(set(patients))} | ends)
    return rows
