"""Patients and splits: shows that no patient is in two splits, and what a split by scan would have leaked."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lungkeras.datasets.registry import class_columns
from lungkeras.preparation.audit.shortcuts import unseen_scores
from lungkeras.scores.rankings import ranking
from lungkeras.splits import SHARES

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 20


def find_leaks(records: pd.DataFrame, pairs: list[list[str]], *, seed: int = 0) -> dict:
    """Patients and images that are in two of the splits in the column `split`.

    Returns
        patients_known     whether the collection identifies patients
        scans, patients    by split
        shared_patients    patients in both of two splits, by pair of splits: all 0 is the proof
        shared_duplicates  pairs of duplicates, among the given `pairs` of scans, whose scans are in two splits
        random_split       what drawing scans instead of patients would have done, as means of 20 draws: the share of
                           test scans whose patient is in train (patient_in_train), and of those with a scan in train of
                           the same patient and the same labels (same_labels)

    The audit adds `leaked_auroc` to the last.
    """
    splits = list(SHARES)
    of_split = {split: set(records.loc[records["split"] == split, "patient"]) for split in splits}
    split_of = dict(zip(records["scan"], records["split"], strict=True))
    return {
        "patients_known": bool((records["patient"] != records["scan"]).any()),
        "scans": {split: int((records["split"] == split).sum()) for split in splits},
        "patients": {split: len(patients) for split, patients in of_split.items()},
        "shared_patients": {
            f"{one} and {other}": len(of_split[one] & of_split[other]) for one, other in combinations(splits, 2)
        },
        "shared_duplicates": sum(split_of[one] != split_of[other] for one, other in pairs),
        "random_split": random_split(records, seed=seed),
    }


def random_split(records: pd.DataFrame, *, draws: int = DRAWS, seed: int = 0) -> dict:
    """The means over `draws` splits by scan, 70:15:15: {draws, test_scans, patient_in_train, same_labels}."""
    patients = records["patient"].factorize()[0]
    labels = records.groupby(class_columns(records), sort=False, dropna=False).ngroup().to_numpy()
    alike = np.unique(np.column_stack([patients, labels]), axis=0, return_inverse=True)[1].ravel()
    scans = len(records)
    train, test = round(SHARES["train"] * scans), round(SHARES["test"] * scans)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        order = rng.permutation(scans)
        found.append([_known(keys, order[:train], order[scans - test :]) for keys in (patients, alike)])
    patient_in_train, same_labels = np.mean(found, axis=0).tolist()
    return {"draws": draws, "test_scans": test, "patient_in_train": patient_in_train, "same_labels": same_labels}


def leaked_auroc(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> dict:
    """The effect of a split by scan on a linear model: {auroc_by_patient, auroc_by_scan}.

    Means over the classes of `labels`, (N, classes) of 1, 0, or NaN where unknown, of the AUROC on five folds of
    `groups`, and of single scans.
    """
    found = {}
    for name, parts in (("auroc_by_patient", groups), ("auroc_by_scan", np.arange(len(groups)))):
        scores, even = unseen_scores(features, labels, parts, seed=seed), np.ones((1, len(labels)))
        aurocs = [ranking(own, scores[:, column], even)[0][0] for column, own in enumerate(labels.T)]
        found[name] = None if np.isnan(aurocs).all() else float(np.nanmean(aurocs))
    return found


def _known(keys: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    seen = np.zeros(keys.max() + 1, bool)
    seen[keys[train]] = True
    return float(seen[keys[test]].mean())
