"""Two studies side by side: runs of the same name and the chosen models, paired if both predict the same scans."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungkeras.evaluation.comparison import compared, macro_scores
from lungkeras.evaluation.failures import best_on_validation
from lungkeras.scores import paired
from lungkeras.study.runs import Run, patients_of, split_of

SCORES = ("macro_f1", "macro_f1_low", "macro_f1_high", "macro_auroc")
PAIRED = ("difference", "low", "high", "p", "auroc_difference", "auroc_low", "auroc_high", "auroc_p")
COLUMNS = [
    "dataset", "first_run", "second_run", *(f"first_{key}" for key in SCORES), *(f"second_{key}" for key in SCORES),
    "scans", "shared", "difference", "low", "high", "p", "p_holm",
    "auroc_difference", "auroc_low", "auroc_high", "auroc_p", "auroc_p_holm", "note",
]  # fmt: skip
PARAM_COLUMNS = ["run", "param", "first", "second"]
ALL_RUNS = "all runs"
PLACES = {"title", "source", "acquire", "prepared", "runs"}  # params that hold paths or names


def compare_studies(
    first: Mapping[str, Run], second: Mapping[str, Run], prepared: Mapping[str, tuple] | None = None
) -> pd.DataFrame:
    """One row per pair of runs of two studies, with COLUMNS.

    Runs of the same name are paired. For each dataset, the models chosen on validation are paired too, if their names
    differ. Runs that only one study has are unpaired. Differences are first minus second, with the interval of the
    paired bootstrap over patients (DeLong's for AUROC) and p of the permutation test; p_holm is adjusted over all rows.
    They are NaN if the test scans or their labels differ, as `note` says; `scans` counts the first study's test split,
    `shared` the scans in both. `prepared` is {run: (hash of the first's data, of the second's)}.
    """
    rows = []
    for one, other in _pairs(first, second):
        run = first[one] if one else second[other]
        row = {"dataset": run.dataset, "first_run": one or "", "second_run": other or ""}
        for side, name, runs in (("first", one, first), ("second", other, second)):
            if name:
                (labels, given), patients = split_of(runs[name], "test"), patients_of(runs[name], "test")
                scores = macro_scores(labels, given, patients, runs[name].task)
                row |= {f"{side}_{key}": scores[key] for key in SCORES}
        if one and other:
            row |= _paired(first[one], second[other])
            hashes = (prepared or {}).get(one, ())
            if not row["note"] and len(set(hashes) - {None}) > 1:
                row["note"] = "scans of the same names, prepared differently or from another source"
        else:
            row["note"] = f"only in the {'first' if one else 'second'} study"
        rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("p", "auroc_p"):
        table[f"{name}_holm"] = paired.holm(table[name].astype(float))
    return table


def _pairs(first: Mapping[str, Run], second: Mapping[str, Run]) -> list[tuple[str | None, str | None]]:
    chosen = [best_on_validation(runs) for runs in (first, second)]
    best = [(chosen[0][name], chosen[1][name]) for name in chosen[0] if name in chosen[1]]
    found = [(name, name) for name in first if name in second]
    found += [pair for pair in best if pair[0] != pair[1]]
    found += [(name, None) for name in first if name not in second]
    return found + [(None, name) for name in second if name not in first]


def _paired(one: Run, other: Run) -> dict:
    """The paired comparison of two runs, or why there is none."""
    ours, theirs = (run.predictions[run.predictions["split"] == "test"].reset_index(drop=True) for run in (one, other))
    places = pd.Series(theirs.index, index=theirs["scan"])
    shared = int(ours["scan"].isin(places.index).sum())
    found = dict.fromkeys(PAIRED, np.nan) | {"scans": len(ours), "shared": shared, "note": ""}
    if (one.task, set(one.classes)) != (other.task, set(other.classes)):
        return found | {"note": "different classes"}
    if shared < max(len(ours), len(theirs)) or not places.index.is_unique:
        return found | {"note": f"{shared} of {len(ours)} and {len(theirs)} test scans are the same"}
    order = places.loc[ours["scan"]].to_numpy()
    columns = [other.classes.index(name) for name in one.classes]
    labels, given = split_of(one, "test")
    other_labels, other_given = (part[order][:, columns] for part in split_of(other, "test"))
    if not np.array_equal(labels, other_labels, equal_nan=True):
        return found | {"note": "the same scans have different labels"}
    if not np.isfinite([given, other_given]).all():
        return found | {"note": "probabilities are NaN or infinite"}
    return found | compared(one, other_given)


def params_that_differ(first: Mapping[str, Run], second: Mapping[str, Run]) -> pd.DataFrame:
    """run, param, first, second: the settings that differ in the runs that both studies have, apart from file paths.

    A setting that differs in the same way in every such run is listed once, as "all runs".
    """
    common = [name for name in first if name in second]
    rows = []
    for name in common:
        ours, theirs = first[name].params, second[name].params
        for key in dict.fromkeys([*ours, *theirs]):
            if key not in PLACES and ours.get(key) != theirs.get(key):
                rows.append((name, key, _text(ours.get(key)), _text(theirs.get(key))))
    table = pd.DataFrame(rows, columns=PARAM_COLUMNS)
    whole = table.groupby(["param", "first", "second"], sort=False)["run"].transform("size") == len(common)
    if len(common) > 1 and len(table):
        table.loc[whole, "run"] = ALL_RUNS
        table = table.drop_duplicates().sort_values("run", key=lambda names: names != ALL_RUNS, kind="stable")
    return table.reset_index(drop=True)


def _text(value: object) -> str:
    return "–" if value is None or value == "" else str(value)
