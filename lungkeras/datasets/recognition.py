"""Looks at a folder of scans and finds out what it holds: a folder for each class, or a table of labels.

It returns a description (own_description.py), which the reader of such collections follows from then on, and sentences
on what was not understood. It asks no questions: a column that is not recognised by its header can be named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from lungkeras.datasets.own_description import Description
from lungkeras.datasets.recognised_folders import (
    FEWEST_PATIENTS,
    SPLIT_WORDS,
    class_folders,
    of_folders,
    read_by,
)
from lungkeras.datasets.recognised_tables import Named, of_table, table_in, tables_in
from lungkeras.system.errors import SourceError
from lungkeras.system.files import glance
from lungkeras.system.text import printable

if TYPE_CHECKING:
    import pandas as pd


SPLIT_IN_NAME = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_WORDS)})(?![a-z])")


@dataclass(frozen=True)
class Understood:
    """A description, the records read with it, where each item was found, and what was not understood."""

    description: Description
    records: pd.DataFrame
    how: Mapping[str, str]
    not_understood: list[str] = field(default_factory=list)


def understand(name: str, source: Path, *, title: str, named: Named | None = None) -> Understood:
    """What a folder of scans holds, as a collection called `name`.

    Raises SourceError if neither a folder for each class nor a table of labels is found, a named column is missing, or
    fewer than two classes with three patients are left.
    """
    named, source = named or Named(), Path(source)
    if not source.is_dir():
        raise SourceError(f"--source {source}: expected a folder of scans, found {glance(source)}: name another")
    labels = named.labels
    missed: list[str] = []
    if labels is None and (found := class_folders(source)) is not None:
        description, how = _described(of_folders, source, title, *found, missed)
        if (table := table_in(source)) is not None:
            missed.append(
                f"the table {printable(table.name)}, which is not read: if it holds the labels, name it by --labels"
            )
    elif labels is None and (labels := table_in(source)) is None:
        raise SourceError(
            f"{source}: expected a folder for each of two classes or more, or a table of labels, found "
            f"{_tables_of_splits(source) or f'{glance(source)}: name the table by --labels FILE'}"
        )
    if labels is not None:
        description, how = _described(of_table, source, Path(labels), title, named, missed)
    description, records = _of_known_classes(name, source, description, missed)
    kinds, flow = records.attrs["kinds"], records.attrs["flow"]
    examples = records.attrs["examples"]
    for step, scans in flow:
        if scans and kinds.get(step) in ("unknown", "not read", "no image", "absent", "left out"):
            such = f", such as {examples[step]}" if examples.get(step) else ""
            missed.append(f"{scans:,} {step}{such}")
    if description.patients == "none":
        missed.append("which scans are of one patient: each counts as a patient of its own")
    return Understood(description, records, how, missed)


def _tables_of_splits(source: Path) -> str:
    """The tables of a source that are each a split, in words; empty if it has not several."""
    names = [file.name for file in tables_in(source) if SPLIT_IN_NAME.search(file.stem.casefold())]
    if len(names) < 2:
        return ""
    shown = " and ".join(map(printable, names[:3]))
    return f"{shown}: join them to one table with a column `split` of train, val and test, and name it by --labels FILE"


def _described(describe: Callable, source: Path, *details) -> tuple[Description, dict[str, str]]:
    """What a folder or a table holds. Raises SourceError if a class or the collection can't be called so."""
    try:
        return describe(source, *details)
    except ValidationError as error:
        first = error.errors()[0]
        raise SourceError(f"{source}: {first['msg'].removeprefix('Value error, ')}: rename it") from None


def _of_known_classes(
    name: str, source: Path, description: Description, missed: list[str]
) -> tuple[Description, pd.DataFrame]:
    """(the description without classes of fewer than three patients, which can't be in every split; its records)."""
    records = read_by(name, source, description)
    patients = {slug: records.loc[records[slug] == 1, "patient"].nunique() for slug in description.classes}
    rare = [slug for slug, number in patients.items() if number < FEWEST_PATIENTS]
    classes = {slug: title for slug, title in description.classes.items() if slug not in rare}
    fewest = 2 if description.task == "multiclass" else 1
    if len(classes) < fewest or (rare and description.labels_are == "columns" and len(description.columns.labels) == 1):
        counted = ", ".join(f"{printable(title)} {patients[slug]}" for slug, title in description.classes.items())
        lost = [f"{scans:,} {step.removeprefix('left out: ')}" for step, scans in records.attrs["flow"]
                if scans and records.attrs["kinds"].get(step) == "unknown"]  # fmt: skip
        counted += f"; left out were {', '.join(lost)}" if lost else ""
        raise SourceError(
            f"{source}: expected at least {fewest} classes that three patients or more have, for train, val and test; "
            f"found patients of {counted}: {'correct these rows, or ' if lost else ''}give more scans"
        )
    if not rare:
        return description, records
    shown = ", ".join(f"{printable(description.classes[slug])} ({patients[slug]})" for slug in rare[:12])
    more = f" and {len(rare) - 12} more" if rare[12:] else ""
    missed.append(f"classes of fewer than three patients, which are left out: {shown}{more}")
    update = {"classes": classes, "clear": description.clear if description.clear in classes else ""}
    if description.labels_are == "columns":
        kept = [column for slug, column in zip(description.classes, description.columns.labels, strict=True)
                if slug in classes]  # fmt: skip
        update["columns"] = description.columns.model_copy(update={"labels": kept})
    description = description.model_copy(update=update)
    return description, read_by(name, source, description)
