"""How many labels of a collection are unknown, and the result of each policy."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from lungkeras.datasets.policies import POLICIES, policy_text
from lungkeras.preparation.folder import Prepared
from lungkeras.report.further import Further
from lungkeras.report.grid import NUMBER, Column, count, grid, table
from lungkeras.splits import SPLITS
from lungkeras.study.words import heading

COLUMNS = ["dataset", "split", "class", "positive", "negative", "uncertain", "blank", "policy"]
COLUMNS += [f"{'_'.join(policy.values())}_{kind}" for policy in POLICIES for kind in ("positive", "known")]


def make(runs: Mapping, data: Mapping[str, Prepared]) -> pd.DataFrame:
    """One row per split and class of each dataset with an uncertain or blank label, with COLUMNS.

    `policy` is the study's; under each policy, `<uncertain>_<blank>_positive` scans have the class, among those
    `..._known`, the n of a score.
    """
    rows = []
    for dataset, prepared in data.items():
        if prepared.records[list(prepared.classes)].isin([0, 1]).all(axis=None):
            continue
        for split in SPLITS:
            records = prepared.split(split)
            under = {"_".join(each.values()): replace(prepared, **each).labels(split) for each in POLICIES}
            for column, name in enumerate(prepared.classes):
                given = records[name]
                row = {"dataset": dataset, "split": split, "class": name, "positive": (given == 1).sum()}
                row |= {"negative": (given == 0).sum(), "uncertain": (given == -1).sum(), "blank": given.isna().sum()}
                row["policy"] = policy_text(prepared.uncertain, prepared.blank)
                for policy, labels in under.items():
                    row[f"{policy}_positive"] = (labels[:, column] == 1).sum()
                    row[f"{policy}_known"] = (~np.isnan(labels[:, column])).sum()
                rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


@table
def labels(frame: pd.DataFrame) -> dict:
    """One group per dataset and split, one row per class."""
    published = [("positive", "1"), ("negative", "0"), ("uncertain", "uncertain"), ("blank", "blank")]
    columns = [Column("name", "class"), *(Column(key, words, 0, "as published") for key, words in published)]
    for policy in POLICIES:
        key = "_".join(policy.values())
        pairs = zip(frame[f"{key}_positive"], frame[f"{key}_known"], strict=True)
        frame = frame.assign(**{key: [f"{count(positive)} of {count(known)}" for positive, known in pairs]})
        columns.append(Column(key, f"blank {policy['blank']}", NUMBER, f"uncertain {policy['uncertain']}"))
    return grid(
        frame.assign(name=frame["class"].map(heading)),
        columns,
        group=lambda row: f"{heading(row['dataset'])}, {row['split']} (this study: {row['policy']})",
    )


FURTHER = Further(
    kind="table",
    title="Labels that are uncertain or blank",
    shows=(
        "For each class the labels as published, and for each policy how many scans have the class, out of those with "
        "a known label. Only these count in a score."
    ),
    reading=(
        "Another policy is another task, with another number of scans: compare scores under one policy only. The "
        "command lungkeras evaluate RUN --on PREPARED --policies gives the scores of a run under each."
    ),
    make=make,
)
