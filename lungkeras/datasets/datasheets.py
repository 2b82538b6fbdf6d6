"""A datasheet of each collection: who made it, of whom, with which labels, and what is known to be wrong with it."""

import functools
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml

COLUMNS = ["dataset", "question", "answer"]


@functools.cache
def questions() -> dict[str, dict[str, str]]:
    """{question: {dataset: answer}} of datasheets.yaml; treat it as read-only."""
    return yaml.safe_load(Path(__file__).with_name("datasheets.yaml").read_text(encoding="utf-8"))


def datasheets(drawn: Mapping[str, bool]) -> pd.DataFrame:
    """The sheets of datasets, one row per question, with COLUMNS. `drawn`: whether the scans of each are drawings."""
    rows = [
        [dataset, question, answers["drawn" if is_drawn else dataset]]
        for dataset, is_drawn in drawn.items()
        for question, answers in questions().items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
