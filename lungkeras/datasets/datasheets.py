"""A datasheet for each collection: who made it, whose scans it holds, its labels, and its known faults.

The questions are those of Gebru et al. 2021, Datasheets for Datasets (doi 10.1145/3458723), as far as publishers answer
them. Each collection's answers are in its entry; those for drawn scans are here.
"""

from collections.abc import Mapping

import pandas as pd

from lungkeras.datasets.registry import known_dataset

COLUMNS = ["dataset", "question", "answer"]
UNANSWERED = "Not stated."
DRAWN = {
    "who made it, and why": "lungkeras draws it, to show and test its software without a download.",
    "whose scans, from where": "No one's.",
    "when": "When the study is first made; the same seed draws the same scans.",
    "how the scans were taken": (
        "Chests drawn from ribs, lungs, heart and diaphragm, whose size, exposure and noise vary by patient."
    ),
    "the reference standard": "What was drawn: right, unless wrong labels were planted.",
    "recorded for each scan": "What the collection with this layout records.",
    "known faults": "Drawings: nothing learned from them is about disease.",
    "what the study uses": "What it would use of the collection.",
    "terms": "Apache 2.0, as lungkeras.",
}


def datasheets(drawn: Mapping[str, bool]) -> pd.DataFrame:
    """The sheets of datasets, one row per question, with COLUMNS; `drawn`: whether the scans of each are drawings."""
    rows = [
        [dataset, question, (DRAWN if is_drawn else known_dataset(dataset).datasheet).get(question, UNANSWERED)]
        for dataset, is_drawn in drawn.items()
        for question in DRAWN
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
