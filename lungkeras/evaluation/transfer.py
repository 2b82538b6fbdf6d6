"""Have transferred weights seen the test scans? Finds copies of these among the scans that the weights were trained on.

The collections share scans (datasets.kinship), so a run that starts from weights of another dataset may be tested on
scans that these weights were trained on. The table has their number, the score with them and the score without.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungkeras.datasets.kinship import why_kin
from lungkeras.evaluation.shared_scans import Collection, copies, datasets_seen
from lungkeras.scores import f1_scores, metrics
from lungkeras.study.runs import Run, patients_of, split_of

LEARNED = ("train", "val")  # of the source: one trains the weights, the other chooses their epoch
COLUMNS = [
    "run", "dataset", "sources", "test_scans", "copies", "macro_f1", "macro_f1_low", "macro_f1_high",
    "macro_f1_without", "macro_f1_without_low", "macro_f1_without_high", "note",
]  # fmt: skip
UNTRACED = "it is unknown what the weights were trained on"


def transferred(
    runs: Mapping[str, Run], collections: Mapping[str, Collection], every_run: Mapping[str, Run] | None = None
) -> pd.DataFrame:
    """One row per run of pretrained weights, with COLUMNS.

    `sources` are the other datasets that the weights were trained on, `copies` the number of the run's test scans with
    a copy in their train or validation split: 0 for ImageNet, and missing if unknown, as `note` explains; it also says
    how the collections are related. macro_f1_without is the score without the copies, with its interval. `every_run`,
    by default `runs`, holds the runs that weights come from.
    """
    rows, known = [], {}
    for run in runs.values():
        if run.weights == "random":
            continue
        seen = datasets_seen(run, every_run or runs)
        sources = [name for name in seen or () if name != run.dataset]
        scans = run.predictions.loc[run.predictions["split"] == "test", "scan"]
        row = {"run": run.name, "dataset": run.dataset, "sources": " ".join(sources), "test_scans": len(scans)}
        row |= _score("macro_f1", run, np.ones(len(scans), dtype=bool))
        kin = "; ".join(filter(None, (why_kin(run.dataset, source) for source in sources)))
        lacking = [name for name in (run.dataset, *sources) if name not in collections] if sources else []
        if seen is None or lacking:
            unknown = f"no fingerprints of {' and '.join(lacking)}" + (f"; {kin}" if kin else "")
            rows.append(row | {"note": UNTRACED if seen is None else unknown})
            continue
        copied = np.zeros(len(scans), dtype=bool)
        for source in sources:
            if (run.dataset, source) not in known:
                known[run.dataset, source] = learned_copies(collections[source], collections[run.dataset])
            copied |= scans.isin(known[run.dataset, source]).to_numpy()
        row |= {"copies": int(copied.sum())} | _score("macro_f1_without", run, ~copied)
        rows.append(row | {"note": kin if sources else "trained on no other collection of this study"})
    return pd.DataFrame(rows, columns=COLUMNS).astype({"test_scans": "Int64", "copies": "Int64"})


def learned_copies(source: Collection, own: Collection) -> set[str]:
    """The test scans of `own` with a copy among the scans that a model of `source` was trained and selected on."""
    asked = (own.records["split"] == "test").to_numpy()
    among = source.records["split"].isin(LEARNED).to_numpy()
    return set(own.records.loc[copies(source, own, asked, among), "scan"])


def _score(name: str, run: Run, kept: np.ndarray) -> dict[str, float]:
    """The macro F1 on the test scans `kept`, with its interval; NaN without scans or with a NaN probability."""
    (labels, given), patients = split_of(run, "test"), patients_of(run, "test")
    found = dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
    if not kept.any() or not np.isfinite(given).all():
        return found
    counts = f1_scores.decision_counts(labels[kept], metrics.decide(given, run.task)[kept], patients[kept])
    low, high = f1_scores.f1_interval(counts)
    return {name: f1_scores.macro_f1_of_counts(counts), f"{name}_low": low, f"{name}_high": high}
