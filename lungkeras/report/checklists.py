"""Reporting checklists, item by item: where the report answers an item, or that it is not done or does not apply."""

import functools
from pathlib import Path

import pandas as pd
import yaml

NOT_DONE, DOES_NOT_APPLY = "not done", "does not apply"
COLUMNS = ["checklist", "item", "topic", "answer", "section", "note"]


@functools.cache
def checklists() -> dict:
    """The whole of checklists.yaml; treat it as read-only."""
    return yaml.safe_load(Path(__file__).with_name("checklists.yaml").read_text(encoding="utf-8"))


def table() -> pd.DataFrame:
    """A row an item of CLAIM, TRIPOD+AI and STARD-AI, with COLUMNS, all text.

    answer   the title of the section that answers it, "not done", or "does not apply"
    section  the id of that section in the report; empty where there is none
    """
    titles = checklists()["sections"]
    rows = []
    for checklist in checklists()["checklists"]:
        for item, topic, where, note in checklist["items"]:
            nowhere = where in (NOT_DONE, DOES_NOT_APPLY)
            answer, section = (where, "") if nowhere else (titles[where], where)
            rows.append([checklist["name"], item, topic, answer, section, note])
    return pd.DataFrame(rows, columns=COLUMNS)
