"""70:15:15 by patient: no patient in two splits, and in each split its share of every class, as far as patients allow.

No existing tool stratifies by patient like this: scikit-learn's StratifiedGroupKFold makes equal folds and takes one
label per scan, GroupShuffleSplit does not stratify. Here patients are assigned one after another, largest first, each
to the split that most lacks its classes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lungkeras.datasets.registry import class_columns
from lungkeras.system.errors import SourceError
from lungkeras.system.text import say

if TYPE_CHECKING:
    import pandas as pd

SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}
SPLITS = tuple(SHARES)
ATTEMPTS = 20


def official_split(records: pd.DataFrame, test_scans: Iterable[str], *, seed: int = 0) -> pd.DataFrame:
    """Records with a column `split` whose test split is a published list of scans; the others are assigned by patient.

    If records have a column `group` (patients joined by duplicates of their scans), groups are assigned. Copies of
    listed scans must be removed from the records before (`preparation.duplicates.copies_of`). Train and val share the
    scans not on the list as 70 to 15. Raises SourceError if no scan is on the list, all are, or a patient has scans on
    and off it, as the split would then leak.
    """
    listed = records["scan"].isin(set(test_scans))
    if listed.all() or not listed.any():
        raise SourceError(
            f"expected some scans of the source on the official test list; found {listed.sum()} of {len(records)}: "
            f"give the list that was published with the scans, or leave out `split: official`"
        )
    if shared := sorted(set(records.loc[listed, "patient"]) & set(records.loc[~listed, "patient"])):
        raise SourceError(
            f"expected each patient on one side of the official test list; found {len(shared)} on both, such as "
            f"{shared[0]}: give the list that was published with the scans"
        )
    rest = records[~listed]
    classes = class_columns(records)
    together = rest["group" if "group" in records else "patient"]
    scans = rest[classes].eq(1).assign(scans=1).groupby(together, sort=True).sum()
    counts = scans.to_numpy(dtype=float)
    due = {split: share for split, share in SHARES.items() if split != "test"}
    places = _deal(counts / np.maximum(counts.sum(axis=0), 1), np.random.default_rng(seed), list(due.values()))
    split_of_group = dict(zip(scans.index, np.array(list(due))[places], strict=True))
    return records.assign(split=together.map(split_of_group).reindex(records.index).fillna("test"))


def given_split(records: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Records with a column `split` taken from `given_split`, even if it splits patients: the audit reports leaks.

    A split that is not given (no val, as a rule) is dealt by patient from what is given as train, as its share to that
    of train. Raises SourceError if no split is given, or none of train.
    """
    given = records.get("given_split")
    if given is None or not (given == "train").any() or not given.isin(SPLITS).all():
        raise SourceError(
            "`split: given` expects train, val or test of every scan, and some of train; the collection gives none: "
            "name its column of the split (lungkeras new --split), or leave out `split: given`"
        )
    lacking = [split for split in SPLITS if not (given == split).any()]
    if not lacking:
        return records.assign(split=given)
    rest, classes = records[given == "train"], class_columns(records)
    together = rest["group" if "group" in records else "patient"]
    scans = rest[classes].eq(1).assign(scans=1).groupby(together, sort=True).sum()
    counts = scans.to_numpy(dtype=float)
    due = {split: SHARES[split] for split in ("train", *lacking)}
    places = _deal(counts / np.maximum(counts.sum(axis=0), 1), np.random.default_rng(seed), list(due.values()))
    split_of_group = dict(zip(scans.index, np.array(list(due))[places], strict=True))
    return records.assign(split=together.map(split_of_group).reindex(records.index).fillna(given))


def split_records(records: pd.DataFrame, *, seed: int = 0, every_class: bool = True) -> pd.DataFrame:
    """Records with a column `split` (train, val or test); rows and their order are unchanged.

    No patient is in two splits; where records have a column `group` (patients joined by duplicates of their scans), no
    group is. The same records and seed give the same splits. Multiclass and multilabel records are treated in the same
    way; an uncertain or blank label counts as 0, whatever a run's policy. With `every_class=False` a class of fewer
    than three patients goes to train first, then to test.

    Raises SourceError, naming the class and the number of its patients, if a class can't be in every split.

    >>> records = lungkeras.read_records("pneumonia", "sources/demo/pneumonia")
    >>> splits = lungkeras.split_records(records, seed=0)
    >>> splits["split"].value_counts().to_dict()
    {'train': 42, 'val': 9, 'test': 9}
    >>> int(splits.groupby("patient")["split"].nunique().max())
    1
    """
    classes = class_columns(records)
    if not classes:
        raise SourceError(
            f"expected records with a 0-or-1 column a class, found the columns {', '.join(records.columns)}: "
            f"read them with lungkeras.datasets.read_records"
        )
    together = records["group" if "group" in records else "patient"]
    scans = records[classes].eq(1).assign(scans=1).groupby(together, sort=True).sum()
    counts = scans.to_numpy(dtype=float)
    if every_class:
        _check_patients(counts, classes)
    # A class without a scan has no weight.
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    rng = np.random.default_rng(seed)
    for _ in range(ATTEMPTS):
        places = _fill_gaps(_deal(shares, rng), shares)
        gaps = _gaps(places, counts, classes)
        if not gaps or not every_class:
            break
    else:
        raise SourceError(
            f"expected every class in train, val and test; found no patient to spare for "
            f"{' and '.join(gaps)}: give a source with more scans"
        )
    split_of = dict(zip(scans.index, np.array(list(SHARES))[places], strict=True))
    return records.assign(split=together.map(split_of))


def _check_patients(counts: np.ndarray, classes: list[str]) -> None:
    patients = (counts[:, :-1] > 0).sum(axis=0)
    rare = [f"{name} ({number})" for name, number in zip(classes, patients, strict=True) if number < len(SHARES)]
    if rare:
        raise SourceError(
            f"expected at least three patients of every class, for train, val and test; found too few of "
            f"{', '.join(rare)}: give a source with more scans"
        )


def _deal(shares: np.ndarray, rng: np.random.Generator, due: Sequence[float] = tuple(SHARES.values())) -> np.ndarray:
    """The split of each patient, int of shape (patients,); `shares` (patients, classes + 1) sum to 1 in each column.

    The cost of a split is the squared distance of its shares from its target, divided by the target; each patient goes
    where the cost grows least. Large patients come first, while there is room for them; the seed shuffles those of
    similar size (within a factor of two), so seeds give different splits.
    """
    due = np.array(due)[:, None] / sum(due)
    order = rng.permutation(len(shares))
    order = order[np.argsort(-np.floor(np.log2(shares[order].sum(axis=1))), kind="stable")]
    places = np.empty(len(shares), dtype=int)
    lack = np.repeat(due, shares.shape[1], axis=1)
    for patient in order:
        growth = ((shares[patient] - 2 * lack) * shares[patient] / due).sum(axis=1).round(15)
        place = int(growth.argmin())
        places[patient] = place
        lack[place] -= shares[patient]
    return places


def _fill_gaps(places: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Places with a patient moved to each split that lacks a class, where that takes no class from the split it leaves.

    Rarest class first, and train before test before val: with only two patients, one is in train and one in test.
    """
    places = places.copy()
    shown = shares[:, :-1] > 0
    for column in np.argsort(shown.sum(axis=0), kind="stable"):
        for place in (0, 2, 1):
            if (shown[:, column] & (places == place)).any():
                continue
            movable = [patient for patient in np.flatnonzero(shown[:, column]) if _can_leave(patient, places, shown)]
            if movable:
                places[min(movable, key=lambda patient: shares[patient].sum())] = place
    return places


def _can_leave(patient: int, places: np.ndarray, shown: np.ndarray) -> bool:
    left_behind = shown[places == places[patient]].sum(axis=0)
    return bool((left_behind[shown[patient]] > 1).all())


def _gaps(places: np.ndarray, counts: np.ndarray, classes: list[str]) -> list[str]:
    return [
        f"{name} in {split}"
        for place, split in enumerate(SHARES)
        for name, scans in zip(classes, counts[places == place, :-1].sum(axis=0), strict=True)
        if scans == 0
    ]


def split_what_is_there(records: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Splits the records. A class of fewer than three patients is reported, and split as far as possible."""
    try:
        return split_records(records, seed=seed)
    except SourceError as error:
        split = split_records(records, seed=seed, every_class=False)
        if not records[class_columns(records)].eq(1).any().all() or split["split"].nunique() < len(SPLITS):
            raise
        say(f"{error}. The split goes on without them where they lack.", file=sys.stderr)
        return split
