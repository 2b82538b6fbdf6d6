"""Which scans of another collection a model may be tested on.

The collections overlap (lungkeras.datasets.kinship): the COVID-19 database holds all viral scans of the pneumonia
collection's folder `train`, and its normal ones. Therefore
    pneumonia models   are tested on covid's normal scans, never on its viral ones
    covid models       are tested on the viral and normal scans of the pneumonia collection's folder `test`
and models of other related collections on all scans. In each case, copies
(preparation.duplicates) of scans that the model, or the model that its weights come from, has seen are left out. On 150
real scans, the search finds at least 97 of 100 copies that were re-encoded, resized, blurred, changed in tone, cropped
or padded by up to 8 % per side, annotated, mirrored, inverted or rotated by up to 2 degrees. It finds few copies that
were cropped by 8 % on a single side. If more than a quarter of the scans of a related collection are copies, the model
is not tested on it: one in a hundred of the rest would be a missed copy. Drawn collections follow the same rules, which
tests the software.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungkeras.datasets.findings import shared_classes
from lungkeras.datasets.kinship import called, direct, why_kin
from lungkeras.datasets.registry import DATASETS, entry_of, title
from lungkeras.evaluation.shared_scans import Collection, copies

FEWEST_SCANS = 20  # fewest scans of a class that is scored
MOST_COPIES = 0.25  # share of a related collection: the search misses 3 in 100, so one in a hundred of the rest
SCAN_COLUMNS = ["dataset", "other", "class", "scans", "allowed", "copies", "left", "note"]


@dataclass(frozen=True)
class Rule:
    """What models of `dataset` may be tested on in `other`: the classes that mean the same, {own: the other's}, without
    those excluded, and the folder of its source if only one is allowed."""

    dataset: str
    other: str
    classes: Mapping[str, str]
    folder: str = ""
    why: str = ""


NO_RULE = "no other collection of the study has a class of the same meaning in the same task"


def rules(datasets: Iterable[str], collections: Mapping[str, Collection]) -> list[Rule]:
    """The rules for models of these datasets: what they may be tested on in each other, and in the collections for
    which the table of kinship has a rule."""
    datasets = list(datasets)
    found = [
        rule_of(dataset, other, collections)
        for dataset in datasets
        for other in dict.fromkeys([*DATASETS, *datasets])
        if other != dataset and (other in datasets or _settled(dataset, other))
    ]
    return [rule for rule in found if rule]


def rule_of(dataset: str, other: str, collections: Mapping[str, Collection]) -> Rule | None:
    """What kinship allows models of one dataset to be tested on in another; None if they do not share two classes."""
    (task, classes), (other_task, others) = (_labels(name, collections) for name in (dataset, other))
    shared = shared_classes(dataset, classes, other, others)
    if task != other_task or len(shared) < 2:
        return None
    row = direct(dataset, other)
    if row and other == row.child and row.wholly:
        never = " and ".join(map(title, row.wholly))
        why = f"the {never} scans of {called(other)} are those of {called(dataset)}: never used"
        asked = {own: theirs for own, theirs in shared.items() if theirs not in row.wholly}
        return Rule(dataset, other, asked, why=why)
    if row and other == row.parent and row.spared:
        why = f"{called(dataset)} holds {row.what} of {called(other)}: only the folder {row.spared} is used"
        return Rule(dataset, other, shared, row.spared, why)
    return Rule(dataset, other, shared)


def _labels(name: str, collections: Mapping[str, Collection]) -> tuple[str, tuple[str, ...]]:
    """Task and classes of a dataset, as it was prepared where it is there."""
    known = collections[name].prepared if name in collections else entry_of(name)
    return (known.task, tuple(known.classes)) if known else ("", ())


def refused(dataset: str, other: str, asked: np.ndarray, copied: np.ndarray) -> str:
    """Why a model made with `dataset` can't be tested on `other`, in a sentence; empty if it can.

    asked, copied: bool (scans of other,): the scans to test on, and those of them with a copy in `dataset`. If the
    table of kinship says which scans the two share (`rule_of`), any number of copies among the others is accepted.
    """
    if _settled(dataset, other) or not why_kin(dataset, other) or (asked & copied).sum() <= MOST_COPIES * asked.sum():
        return ""
    return (
        f"{why_kin(dataset, other)}: {(asked & copied).sum():,} of {asked.sum():,} scans are copies, too many for "
        "a search that misses some"
    )


def _settled(dataset: str, other: str) -> bool:
    """Whether the table of kinship says which scans of `other` are not of `dataset`."""
    row = direct(dataset, other)
    return bool(row and (row.wholly if other == row.child else row.spared))


def allowed(rule: Rule, other: Collection) -> np.ndarray:
    """Which scans a rule allows, before the search for copies: bool (scans,).

    In a multiclass collection, those of the rule's classes; in a multilabel one, those with at least one known label
    among them.
    """
    records, labels = other.records, other.labels(list(rule.classes.values()))
    rows = ((labels == 1) if other.prepared.task == "multiclass" else ~np.isnan(labels)).any(axis=1)
    if rule.folder:
        folders = records["path"].str.split("/").str[:-1]
        rows = rows & folders.map(lambda parts: rule.folder in [part.lower() for part in parts]).to_numpy(bool)
    return rows


def external_scans(collections: Mapping[str, Collection], datasets: Mapping[str, object] | None = None) -> pd.DataFrame:
    """How many scans of another collection the models of each dataset can be tested on, with SCAN_COLUMNS.

    One row per rule and class: the class's `scans` in the other collection, those `allowed` by the rule, the `copies`
    of own scans among these, and those `left`. If none can be used, `note` says why. `datasets` are those of the study,
    by default those of `collections`.
    """
    rows, datasets = [], list(datasets or collections)
    every = rules(datasets, collections)
    for dataset in datasets:
        if not any(rule.dataset == dataset for rule in every):
            rows.append({"dataset": dataset, "note": NO_RULE})
        for rule in (rule for rule in every if rule.dataset == dataset):
            about = {"dataset": dataset, "other": rule.other}
            if reason := impossible(rule, collections):
                rows.append(about | {"note": reason})
                continue
            own, other = collections[dataset], collections[rule.other]
            may = allowed(rule, other)
            copied = copies(own, other, may)
            reason = refused(dataset, rule.other, may, copied)
            mine, theirs = own.prepared.classes, other.prepared.classes
            for name, word in shared_classes(dataset, mine, rule.other, theirs).items():
                has = (other.records[word] == 1).to_numpy()
                left = has & may & ~copied & (not reason)
                counted = {"scans": has.sum(), "allowed": (has & may).sum(), "copies": (has & copied).sum()}
                note = {"left": left.sum(), "note": reason or _note(rule, name, left.sum(), own)}
                rows.append(about | {"class": name} | counted | note)
    return pd.DataFrame(rows, columns=SCAN_COLUMNS).astype(
        dict.fromkeys(("scans", "allowed", "copies", "left"), "Int64")
    )


def impossible(rule: Rule, collections: Mapping[str, Collection]) -> str:
    for name in (rule.dataset, rule.other):
        if name not in collections:
            return f"the study holds no fingerprints of {called(name)}: copies can't be searched for"
    if collections[rule.dataset].prepared.drawn != collections[rule.other].prepared.drawn:
        return "one collection is drawn and the other real: a score would say nothing of either"
    return ""


def _note(rule: Rule, name: str, left: int, own: Collection) -> str:
    notes = [rule.why] if rule.folder or name not in rule.classes else []
    if not rule.why and (why := why_kin(rule.dataset, rule.other)):
        notes.append(f"{why}: copies are left out")
    if name in rule.classes and left < FEWEST_SCANS:
        notes.append(f"fewer than {FEWEST_SCANS} are left: not scored" if left else "none is left")
    elif name in rule.classes and len(rule.classes) == 1:
        notes.append("a model that always predicts the only class has a recall of 1: not scored")
    if own.prepared.drawn:
        notes.append("drawn: a test of the software")
    return "; ".join(notes)
