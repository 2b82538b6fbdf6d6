"""Small tables that the notebooks print."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lungkeras.datasets.policies import unknown_labels
from lungkeras.datasets.registry import class_columns, known_dataset, title
from lungkeras.preparation.folder import Prepared
from lungkeras.system.untrusted import table_files


def class_counts(records: pd.DataFrame) -> pd.DataFrame:
    """Scans per class (rows) in each split (columns) and in total; the last row counts scans and patients.

    A scan with several findings counts in each, so the rows of a multilabel dataset sum to more than its scans. If the
    collection has unknown labels, the columns uncertain and blank count them over all splits; each run's policy decides
    how they are used.

    >>> records = lungkeras.read_records("pneumonia", "sources/demo/pneumonia")
    >>> lungkeras.class_counts(lungkeras.split_records(records))
                         val  train  test  all
    bacterial pneumonia    3     16     3   22
    viral pneumonia        3     13     3   19
    normal                 3     13     3   19
    scans                  9     42     9   60
    patients               7     29     7   43
    """
    groups, classes = records.groupby("split", sort=False), class_columns(records)
    counts = records[classes].eq(1).groupby(records["split"], sort=False).sum().T
    counts["all"] = counts.sum(axis=1)
    counts.loc["scans"] = [*groups.size()[counts.columns[:-1]], len(records)]
    counts.loc["patients"] = [*groups["patient"].nunique()[counts.columns[:-1]], records["patient"].nunique()]
    for kind, scans in unknown_labels(records, classes).items():
        counts[kind] = pd.Series(scans).reindex(counts.index, fill_value=0)
    return counts.rename(index=title).rename_axis(index=None, columns=None).astype(int)


def flow(records: pd.DataFrame) -> pd.DataFrame:
    """The steps of the selection and the number of scans that each keeps or removes.

    >>> steps = lungkeras.flow(lungkeras.read_records("pneumonia", "sources/demo/pneumonia"))
    >>> dict(zip(steps["step"], steps["scans"].tolist()))
    {'found': 60, 'left out: file name gives no patient and class': 0, 'kept': 60}
    """
    steps = pd.DataFrame(records.attrs["flow"], columns=["step", "scans"])
    return steps.assign(kind=steps["step"].map(records.attrs["kinds"]).fillna(""))


def normals_left_out(prepared: Path | str) -> int:
    """How many normal scans the selection left out to balance the classes, from a prepared flow.csv."""
    flow = table_files.read_csv(Path(prepared) / "flow.csv")
    return int(flow.loc[flow["kind"] == "normal", "scans"].sum())


def normals_kept(records: pd.DataFrame, dataset: str) -> int:
    """How many normal scans the selection kept; 0 for a collection without such a class."""
    clear = known_dataset(dataset).clear
    return int(records[clear].eq(1).sum()) if clear else 0


def scans_left_out(prepared: Path | str) -> int:
    """How many scans of the list the selection left out in total, for any reason, from a prepared flow.csv."""
    flow = table_files.read_csv(Path(prepared) / "flow.csv")
    return int(flow.loc[flow["kind"].isin(["normal", "left out", "unknown"]), "scans"].sum())


def per_class(scores: dict) -> pd.DataFrame:
    """The scores of one split, from a run's metrics: one row per class.

    >>> run = lungkeras.read_run("reports/demo/runs/pneumonia-resnet34-random")
    >>> lungkeras.per_class(run.metrics["test"])["support"].tolist()
    [3, 3, 3]
    """
    return pd.DataFrame(scores["per_class"]).T.astype({"support": int}).rename(index=title).round(3)


def normal_scans(
    data: Mapping[str, Prepared], folders: Mapping[str, Path]
) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Per dataset, the normal scans that the selection left out, those that it kept, and all scans of the list.

    The arguments of `comparison.natural_prevalence`; `folders` are those of the prepared datasets.
    """
    left_out = {dataset: normals_left_out(folder) for dataset, folder in folders.items()}
    kept = {dataset: normals_kept(prepared.records, dataset) for dataset, prepared in data.items()}
    listed = {dataset: scans_left_out(folder) + len(data[dataset].records) for dataset, folder in folders.items()}
    return left_out, kept, listed
