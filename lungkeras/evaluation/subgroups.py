"""Results by group: the test scans of each view, sex and age band, if the collection records them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungkeras.evaluation.comparison import macro_scores
from lungkeras.preparation.folder import Prepared
from lungkeras.scores import intervals, metrics
from lungkeras.study.runs import Run, patients_of, split_of

FEWEST_SCANS = 20  # of a group
FEWEST_OF_A_CLASS = 5  # scans of a group with a class, and without it, for the class to count
OLDEST = 120  # years; a higher age is an error in the list
ATTRIBUTES = ("view", "sex", "age")
AGE_BANDS = {"under 18": 18, "18 to 39": 40, "40 to 59": 60, "60 to 79": 80, "80 and over": OLDEST + 1}
UNKNOWN = "unknown"
NOT_RECORDED = "the collection does not record it"
SCORES = [f"{name}{end}" for name in ("macro_f1", "macro_auroc") for end in ("", "_low", "_high")]
COLUMNS = ["run", "dataset", "attribute", "group", "scans", "patients", "classes", *SCORES, "note"]


def age_bands(ages: pd.Series) -> pd.Series:
    """The band of each age in years, str; "unknown" where it is absent, below 0 or above 120."""
    ages = ages.astype("Float64")
    starts = [0, *AGE_BANDS.values()]
    bands = pd.cut(ages.astype(float), starts, right=False, labels=list(AGE_BANDS))
    return bands.astype(object).where(bands.notna(), UNKNOWN)


def groups_of(records: pd.DataFrame) -> dict[str, pd.Series]:
    """{view, sex, age: the group of each scan, str}, for those that the records have."""
    found = {}
    for name in ATTRIBUTES:
        if name in records:
            known = records[name].notna()
            found[name] = age_bands(records[name]) if name == "age" else records[name].where(known, UNKNOWN).astype(str)
    return found


def subgroups(runs: Mapping[str, Run], datasets: Mapping[str, Prepared]) -> pd.DataFrame:
    """One row per run and group of its test split, with COLUMNS.

    Macro F1 and AUROC are means over the classes that at least five scans of the group have and five lack; `classes`
    counts these. Intervals are of 95 %, by bootstrap over the group's patients. A group of fewer than 20 scans or 10
    patients, or without such a class, has no score, and `note` says "too few". A dataset without an attribute has one
    row without a run, and `note` says so.
    """
    rows = []
    for dataset, prepared in datasets.items():
        own = [run for run in runs.values() if run.dataset == dataset]
        records = prepared.split("test").drop_duplicates("scan").set_index("scan") if own else None
        recorded = groups_of(prepared.split("test"))
        for attribute in ATTRIBUTES:
            about = {"dataset": dataset, "attribute": attribute}
            if attribute not in recorded:
                rows.append(about | {"note": NOT_RECORDED})
                continue
            for run in own:
                scans = run.predictions.loc[run.predictions["split"] == "test", "scan"]
                of_scans = groups_of(records.reindex(scans))[attribute].to_numpy(str)
                rows += [
                    {"run": run.name} | about | {"group": group} | _scores(run, of_scans == group)
                    for group in _in_order(of_scans)
                ]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("scans", "patients", "classes"), "Int64"))


def _in_order(groups: np.ndarray) -> list[str]:
    order = [*AGE_BANDS, *sorted(set(groups) - {*AGE_BANDS, UNKNOWN}), UNKNOWN]
    return [group for group in order if group in set(groups)]


def _scores(run: Run, chosen: np.ndarray) -> dict:
    labels, probabilities = (part[chosen] for part in split_of(run, "test"))
    patients = patients_of(run, "test")[chosen]
    decided = metrics.decide(probabilities, run.task)
    counted = np.minimum((labels == 1).sum(axis=0), (labels == 0).sum(axis=0)) >= FEWEST_OF_A_CLASS
    row = {"scans": len(labels), "patients": len(set(patients)), "classes": int(counted.sum()), "note": ""}
    if row["scans"] < FEWEST_SCANS or row["patients"] < intervals.FEWEST_PATIENTS or not counted.any():
        return row | {"note": intervals.TOO_FEW}
    asked = (part[:, counted] for part in (labels, probabilities))
    scores = macro_scores(*asked, patients, run.task, decided=decided[:, counted])
    return row | {name: scores[name] for name in SCORES}
