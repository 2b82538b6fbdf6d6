"""The caveats next to every table of scores: collections without known patients, image labels, or complete labels."""

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from lungkeras.datasets.policies import DEFAULTS, policy_text
from lungkeras.datasets.registry import entry_of
from lungkeras.study.words import heading

SCORE = re.compile("f1|auroc|ece|brier|sensitivity|value")


def caveats(datasets: Iterable[str], unknown: Iterable[str], params: Mapping[str, object]) -> str:
    """Sentences on scores of these datasets; empty where patients and labels are known.

    `unknown` are the datasets with uncertain or blank labels, `params` hold their policies.
    """
    names = list(dict.fromkeys(datasets))
    entries = {name: entry for name in names if (entry := entry_of(name))}
    alone = [heading(name) for name, entry in entries.items() if not (entry.patients or entry.patients_in)]
    listed = {heading(name): entry.patients_in for name, entry in entries.items() if entry.patients_in}
    studies = [heading(name) for name, entry in entries.items() if entry.label_unit == "study"]
    partly = [heading(name) for name in names if name in set(unknown)]
    sentences = []
    if alone:
        sentences.append(
            f"{' and '.join(alone)}: the collection does not say which scans belong to one patient. Splits and "
            "intervals treat each scan as a patient; copies of a scan share a split."
        )
    sentences += [
        f"{name}: only the file {file}, published separately, says which scans belong to one patient. Without it, "
        "splits and intervals treat each scan as a patient; copies of a scan share a split."
        for name, file in listed.items()
    ]
    if studies:
        sentences.append(f"{' and '.join(studies)}: a label is that of a study, and all its images share it.")
    if partly:
        policy = policy_text(*(str(params.get(kind, word)) for kind, word in DEFAULTS.items()))
        sentences.append(
            f"{' and '.join(partly)}: some labels are uncertain or blank ({policy}). Ignored labels count in "
            "no score, so each class has its own number of scans; a class without a known 1 and a known 0 has no score."
        )
    return " ".join(sentences)


def of_table(frame: pd.DataFrame | None, unknown: Iterable[str], params: Mapping[str, object]) -> str:
    """`caveats` of a table with a column dataset and a column of scores; empty for other tables."""
    if frame is None or "dataset" not in frame or not any(SCORE.search(name) for name in frame):
        return ""
    return caveats(frame["dataset"].dropna(), unknown, params)
