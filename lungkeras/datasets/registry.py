"""Folders of chest X-rays, as they are published, read into one table of records.

entry.py       what the package knows about a collection
collections/   its entry, layout, labels and selection: a module each, found here by itself
own.py         collections of one's own, by their descriptions in params/
records.py     the columns, and what every dataset promises
folders.py     looking for a collection in the folder that a user names
listed.py      scans that are in a list, and the path of each
tables.py      lists with more scans than a study uses
packed.py      scans that are rows of an array
phantoms/      draws chests in the same layouts
download.py    Kaggle, or a local archive, to a folder
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets import collections
from lungkeras.datasets.entry import Dataset
from lungkeras.datasets.own import described, own_dataset, own_titles
from lungkeras.datasets.records import EXTRAS, finish
from lungkeras.system.errors import SourceError
from lungkeras.system.files import glance
from lungkeras.system.lazy import entries
from lungkeras.system.text import say

if TYPE_CHECKING:
    import pandas as pd


DATASETS: dict[str, Dataset] = entries(collections, "DATASET")

TITLES = {name: words for dataset in DATASETS.values() for name, words in dataset.titles.items()}


NAMED = {*DATASETS, *(name for dataset in DATASETS.values() for name in dataset.classes)}


def title(name: str) -> str:
    """A class or a dataset as figures and tables write it.

    >>> title("viral_pneumonia")
    'viral pneumonia'
    """
    plain = name.replace("_", " ")
    return TITLES.get(name, plain) if name in NAMED else own_titles().get(name, plain)


def read_records(
    dataset: str, source: Path | str, *, require_files: bool = True, seed: int = 0, votes: str | None = None
) -> pd.DataFrame:
    """Reads a source into its records, with the study's selection applied.

    `source` is the folder that holds the collection as published, or the collection's own folder. If a collection has a
    list of its scans (xray8), `require_files=False` keeps those whose files are absent. `seed` draws the undersampled
    normal scans. `votes` says how the answers of several readers become a label, majority, any or all, for a collection
    with labels per reader (vindr); others ignore it. Columns and `attrs` are those of lungkeras.datasets.records.

    Raises SourceError if `source` does not hold the collection, or no scan of it, or if a multiclass scan does not have
    exactly one class: uncertain and blank labels are for multilabel collections.

    >>> records = lungkeras.read_records("pneumonia", "sources/demo/pneumonia")
    >>> len(records), list(records.columns[3:])
    (60, ['bacterial_pneumonia', 'viral_pneumonia', 'normal'])
    """
    chosen, source = known_dataset(dataset), Path(source)
    found = chosen.find(source)
    if not found:
        raise SourceError(_nothing_found(chosen, source))
    how = {"votes": votes} if chosen.votes and votes else {}
    if how and votes not in chosen.votes:
        raise SourceError(f"{dataset}: expected votes {', '.join(chosen.votes)}; found {votes!r}: choose one of these")
    read = chosen.read(source, found, require_files=require_files, seed=seed, **how)
    records = finish(read, dataset, chosen.classes)
    if records.empty:
        raise SourceError(_nothing_found(chosen, source, records))
    if chosen.task == "multiclass":
        _require_one_class(records, chosen)
    kinds = records.attrs["kinds"]
    for step, scans in records.attrs["flow"]:
        if kinds.get(step) in ("unknown", "not read"):
            what = "images" if kinds[step] == "not read" else "scans"
            say(f"{dataset}: {scans:,} {what} {step}", file=sys.stderr)
    return records


def _require_one_class(records: pd.DataFrame, dataset: Dataset) -> None:
    """Raises SourceError."""
    labels = records[list(dataset.classes)]
    wrong = records.loc[~labels.isin([0, 1]).all(axis=1) | (labels.sum(axis=1) != 1), "scan"]
    if len(wrong):
        raise SourceError(
            f"{dataset.name}: expected one class of every scan, found {len(wrong):,} of {len(records):,} with none, "
            f"several or an uncertain one, such as {wrong.iloc[0]}: leave them out, or make the task multilabel"
        )


def known_dataset(name: str) -> Dataset:
    """The entry of a collection, also one's own. Raises SourceError, naming the datasets, if `name` is unknown."""
    if (found := entry_of(name)) is None:
        known = ", ".join(dataset_names())
        raise SourceError(f"expected a dataset, one of {known}; found {name!r}: choose one of these")
    return found


def entry_of(name: str) -> Dataset | None:
    """The entry of a collection, also one's own, or None if a copied study names one that is not here."""
    return DATASETS.get(name) or own_dataset(name)


def dataset_names() -> list[str]:
    """The names of all datasets, those of one's own last."""
    return [*DATASETS, *(name for name in sorted(described()) if name not in DATASETS)]


def _nothing_found(dataset: Dataset, source: Path, records: pd.DataFrame | None = None) -> str:
    others = [other.name for other in DATASETS.values() if other is not dataset and _can_be_read(other, source)]
    is_other = f", which is a source of {' and '.join(others)}" if others else ""
    start = f"{dataset.name}: no scan in {source}. Expected {dataset.layout}; found {glance(source)}{is_other}"
    draw = f"or draw one: lungkeras phantom {dataset.name} --to DIR"
    if dataset.described:
        draw = "or describe the folder again: lungkeras new STUDY --source DIR"
    if records is None:
        return f"{start}. Give the folder that holds {dataset.holds}, arrange your own scans in this way, {draw}"
    flow, examples = records.attrs["flow"], records.attrs["examples"]
    left_out = "; ".join(
        f"{step}: {scans:,}" + (f", such as {examples[step]}" if step in examples else "")
        for step, scans in flow[:-1]
        if scans
    )
    there = left_out or "no file in its folders"
    return f"{start} ({there}). Fetch the collection again, arrange and name your own scans in this way, {draw}"


def _can_be_read(dataset: Dataset, source: Path) -> bool:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found = dataset.find(source)
            return bool(found) and len(dataset.read(source, found)) > 0
    except SourceError:
        return False


def class_columns(records: pd.DataFrame) -> list[str]:
    """The class columns of records, in order: as they were read, or by their names, or by holding only 0 and 1."""
    if "classes" in records.attrs:
        return list(records.attrs["classes"])
    for dataset in DATASETS.values():
        if set(dataset.classes) <= set(records.columns):
            return list(dataset.classes)
    return [
        name
        for name in records.select_dtypes("integer").columns
        if name not in EXTRAS and records[name].isin([0, 1]).all()
    ]
