"""Reporting checklists, item by item: where the report answers an item, or that it is not done or not applicable."""

import functools
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import yaml

NOT_DONE, DOES_NOT_APPLY = "not done", "does not apply"
INSTEAD = {"figure_05": "failure_counts"}  # of a section that a report does not have
COLUMNS = ["checklist", "item", "topic", "answer", "section", "note"]


@functools.cache
def checklists() -> dict:
    """The whole of checklists.yaml; treat it as read-only."""
    return yaml.safe_load(Path(__file__).with_name("checklists.yaml").read_text(encoding="utf-8"))


def table(*, own: bool = False, without: Collection[str] = ()) -> pd.DataFrame:
    """One row per item of CLAIM, TRIPOD+AI and STARD-AI, with COLUMNS, all text.

    answer   the title of the section that answers it, "not done", or "does not apply"
    section  the id of that section in the report; empty if there is none

    `own`: for a collection of one's own, whose owner has the answers that publishers give elsewhere. `without`: the ids
    that the report lacks; their items count as not done.
    """
    titles, owners = checklists()["sections"], checklists()["own"] if own else {}
    rows = []
    for checklist in checklists()["checklists"]:
        for item, topic, where, note in checklist["items"]:
            where, note = owners.get(checklist["name"], {}).get(item, (where, note))
            where = INSTEAD.get(where, where) if where in without else where
            where, note = (NOT_DONE, "") if where in without else (where, note)
            nowhere = where in (NOT_DONE, DOES_NOT_APPLY)
            answer, section = (where, "") if nowhere else (titles[where], where)
            rows.append([checklist["name"], item, topic, answer, section, note])
    return pd.DataFrame(rows, columns=COLUMNS)
