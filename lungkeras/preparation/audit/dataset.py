"""Checks of a collection before anything is trained on it.

leakage        patients and splits: the proof, and what a split by scan would have leaked
hashing        the fingerprint of a scan, to find copies and to probe its grey levels
duplicates     copies, within a collection and across collections
shortcuts      how well a linear model predicts the classes without the lungs
texture        a modest description of a scan
labels         how many labels the scans contradict, and which
summary        the audit as text and as tables
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lungkeras.datasets.policies import DEFAULTS, effect, labels_under, unknown_labels
from lungkeras.preparation.audit.labels import label_noise, suspects
from lungkeras.preparation.audit.leakage import find_leaks, leaked_auroc
from lungkeras.preparation.audit.shortcuts import coarse, probe_shortcuts, standardised
from lungkeras.preparation.audit.texture import describe
from lungkeras.preparation.duplicates import find_duplicates, join_patients
from lungkeras.preparation.prints import Fingerprints, load_fingerprints, take_fingerprints
from lungkeras.system.errors import RunError, SourceError
from lungkeras.system.files import as_json, write_json
from lungkeras.system.provenance import code_digest
from lungkeras.system.untrusted import json_files, table_files

if TYPE_CHECKING:
    import pandas as pd

MOST_SCANS = 6000  # that are probed; from a larger collection, this many are drawn, by patient
AUDIT = "audit.json"
# A study's tables of it: tables/audit_<name>.csv.
TABLES = ("leakage", "duplicates", "shortcuts", "labels", "suspects", "flow", "notes")
FEWEST_SCANS = 20
MODULES = tuple(f"preparation/audit/{name}" for name in ("dataset", "labels", "leakage", "shortcuts", "texture"))
MODULES += ("scores/intervals",)
EARLIER = (
    "This audit was made by an earlier version of lungkeras. It can't be repeated, as the prepared folder lacks files: "
    "prepare the dataset again."
)


def audit_source(dataset: str, source: Path | str, *, seed: int = 0, workers: int | None = None) -> dict:
    """Audits a source folder as published. Returns what `audit_records` does.

    Raises SourceError if the source is not of this dataset, or none of its scans can be read.

    >>> audit = lungkeras.audit_source("pneumonia", "sources/demo/pneumonia")
    >>> audit["leakage"]["shared_patients"]
    {'train and val': 0, 'train and test': 0, 'val and test': 0}
    """
    from lungkeras.datasets.registry import read_records
    from lungkeras.splits import given_split, split_what_is_there

    source = Path(source)
    records = read_records(dataset, source, seed=seed)
    flow = records.attrs["flow"]
    prints = take_fingerprints([source / path for path in records["path"]], workers=workers or os.cpu_count())
    if not prints.read.any():
        raise SourceError(
            f"{dataset}: none of {len(records)} scans in {source} can be read: download the collection again"
        )
    flow = [*flow, ["unreadable", int((~prints.read).sum())]]
    records, prints = records[prints.read].reset_index(drop=True), prints[prints.read]
    pairs = find_duplicates(prints, records["scan"], records["patient"])
    split = given_split if "given_split" in records else split_what_is_there
    records = split(records.assign(group=join_patients(records, pairs)), seed)
    return audit_records(dataset, records, prints, pairs, seed=seed) | {"flow": flow}


def audit_prepared(
    prepared: Path | str,
    *,
    seed: int = 0,
    uncertain: str = DEFAULTS["uncertain"],
    blank: str = DEFAULTS["blank"],
) -> dict:
    """Audits a prepared dataset, from its records and fingerprints, and keeps the result there as audit.json.

    `uncertain` and `blank` are as in `audit_records`. Returns what it returns, and made_from: {seed, code, uncertain,
    blank}. Raises RunError if the folder was prepared without records or fingerprints.
    """
    found = _audited(Path(prepared), seed, uncertain, blank)
    write_json(Path(prepared) / AUDIT, found)
    return found


def kept_audit(prepared: Path | str) -> dict:
    """The audit that is kept with a prepared dataset; audits the dataset again if other code made it.

    If the folder no longer holds what an audit needs, the kept one is returned with a note that says so. Raises OSError
    or ValueError if there is no audit, or a damaged one.
    """
    folder = Path(prepared)
    kept = json_files.read(folder / AUDIT)
    made_from = kept.get("made_from", {})
    if made_from.get("code") == code_digest(MODULES):
        return kept
    try:
        policies = (made_from.get(kind, default) for kind, default in DEFAULTS.items())
        found = _audited(folder, made_from.get("seed", 0), *policies)
    except RunError:
        return kept | {"notes": [*kept["notes"], EARLIER]}
    with suppress(OSError):  # a colleague's folder may be read only
        write_json(folder / AUDIT, found)
    return json_files.loads(as_json(found))


def _audited(folder: Path, seed: int, uncertain: str, blank: str) -> dict:
    try:
        records = table_files.read_parquet(folder / "records.parquet")
        statistics = json_files.read(folder / "statistics.json")
        records.attrs["classes"] = statistics["classes"]
        pairs = table_files.read_csv(folder / "duplicates.csv", dtype={"scan": str, "other": str})
        flow = table_files.read_csv(folder / "flow.csv")[["step", "scans"]].to_numpy().tolist()
        prints = load_fingerprints(folder / "fingerprints.npz")
    except FileNotFoundError as error:
        raise RunError(
            f"{folder} can't be audited: it holds no {Path(error.filename).name}: prepare it again"
        ) from None
    policies = {"uncertain": uncertain, "blank": blank}
    found = audit_records(statistics["dataset"], records, prints, pairs, seed=seed, **policies) | {"flow": flow}
    return found | {"made_from": {"seed": seed, "code": code_digest(MODULES), **policies}}


def audit_records(
    dataset: str,
    records: pd.DataFrame,
    prints: Fingerprints,
    pairs: pd.DataFrame,
    *,
    seed: int = 0,
    uncertain: str = DEFAULTS["uncertain"],
    blank: str = DEFAULTS["blank"],
) -> dict:
    """The audit of records that have a column `split`, with their fingerprints, row by row, and their duplicates.

    `uncertain` and `blank` are the policies of labels that the collection does not know (lungkeras.datasets.policies);
    no probe of a class is fitted to, or scored on, scans whose label of it is ignored.

    Returns
        dataset, scans     what was audited
        leakage            see `leakage`
        duplicates         [[scan, scan]]; kinds and correlations are in `duplicate_pairs`
        shortcuts          [{name, class, auroc, low, high, alarm}], see `shortcuts`
        label_noise        {rate, low, high, classes: {class: {rate, low, high, auroc}}}, see `labels`
        suspected_labels   scans, worst first; `suspects` has the given and the shown class of each: [{scan, given,
                           shown, margin}]
        unknown_as         {uncertain: {class: word}, blank: {class: word}}: the policy of each class with such labels
        notes              what the data can't answer
    """
    from threadpoolctl import threadpool_limits

    from lungkeras.datasets.registry import class_columns

    classes = class_columns(records)
    groups = records["group" if "group" in records else "patient"].to_numpy(object)
    rows = probed_rows(groups, seed)
    chosen, seen = records.iloc[rows].reset_index(drop=True), prints[rows]
    labels = labels_under(chosen, classes, uncertain, blank)
    # One thread: on shared cores, threads that wait for each other take many times as long for so small a task.
    with threadpool_limits(1):
        shortcuts = probe_shortcuts(seen, chosen, labels, classes, groups[rows], seed=seed)
        grey_levels = standardised(np.stack([coarse(thumbnail) for thumbnail in seen.thumbnails]))
        leaked = leaked_auroc(grey_levels, labels, groups[rows], seed=seed)
        noise, suspected = no_noise(classes), []
        if len(chosen) >= FEWEST_SCANS:
            noise, suspected = _labels(chosen, seen, labels, groups[rows], classes, seed)
    pairs_found = pairs[["scan", "other"]].to_numpy(object).tolist()
    leakage = find_leaks(records, pairs_found, seed=seed)
    leakage["random_split"] |= leaked
    found = {
        "dataset": dataset,
        "scans": len(records),
        "leakage": leakage,
        "duplicates": pairs_found,
        "duplicate_pairs": pairs.to_dict("records"),
        "shortcuts": shortcuts,
        "label_noise": noise,
        "suspected_labels": [entry["scan"] for entry in suspected],
        "suspects": suspected,
    }
    found["unknown_as"] = effect(unknown_labels(records, classes), uncertain, blank)
    return found | {"notes": notes(found, len(rows))}


def _labels(records, prints, labels, groups, classes, seed) -> tuple[dict, list[dict]]:
    both = np.concatenate([prints.thumbnails, prints.thumbnails[:, :, ::-1]])
    features, mirrored = np.split(describe(both, seed=seed), 2)
    noise, probabilities, recognised = label_noise(features, mirrored, labels, groups, classes, seed=seed)
    most = round((noise["high"] or 0) * len(labels))
    suspected = [
        {
            "scan": records["scan"][row],
            "given": "|".join(name for name, own in zip(classes, labels[row], strict=True) if own == 1),
            "shown": classes[column],
            "margin": round(margin, 4),
        }
        for row, column, margin in suspects(labels, probabilities, recognised, most)
    ]
    return noise, suspected


def no_noise(classes: list[str]) -> dict:
    """The answer about the labels where there are too few scans."""
    nothing = dict.fromkeys(("rate", "low", "high"))
    return nothing | {"classes": {name: nothing | {"auroc": None} for name in classes}}


def probed_rows(groups: np.ndarray, seed: int) -> np.ndarray:
    """The rows to probe, in order: all, or whole groups drawn until there are MOST_SCANS."""
    if len(groups) <= MOST_SCANS:
        return np.arange(len(groups))
    place = np.unique(groups, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(place.max() + 1)
    until = np.searchsorted(np.cumsum(np.bincount(place)[order]), MOST_SCANS)
    return np.flatnonzero(np.isin(place, order[:until]))


def notes(found: dict, probed: int) -> list[str]:
    """Sentences on what this collection can't answer."""
    sentences = []
    shared = sum(found["leakage"]["shared_patients"].values())
    if shared or found["leakage"]["shared_duplicates"]:
        sentences.append(
            f"The split that the collection gives leaks: {shared:,} patients and "
            f"{found['leakage']['shared_duplicates']:,} pairs of copies are in two splits. It is kept as given, so "
            "scores on its test split are too high. `split: patients` in study.yaml splits the scans again, by patient."
        )
    if not found["leakage"]["patients_known"]:
        sentences.append(
            "The collection does not say which scans are of one patient, so a patient may be in two splits unnoticed. "
            "Only copies can be checked."
        )
    if not any(entry["name"] == "metadata" for entry in found["shortcuts"]):
        sentences.append(
            "The collection gives no age, sex, view, follow-up, scanner or reader, so none of these can be probed."
        )
    sentences += [_unknown(kind, words) for kind, words in found["unknown_as"].items()]
    unsure = [name for name, entry in found["label_noise"]["classes"].items() if entry["rate"] is None]
    if unsure:
        sentences.append(
            f"Wrong labels of {', '.join(name.replace('_', ' ') for name in unsure)} can't be estimated: the model "
            "does not recognise these classes well enough."
        )
    if probed < found["scans"]:
        sentences.append(
            f"Shortcuts and labels were probed on {probed:,} of {found['scans']:,} scans, sampled by patient."
        )
    sentences.append("No reader has looked at these scans: a suspected label is a question, not an error.")
    return sentences


def _unknown(kind: str, words: dict[str, str]) -> str:
    """A sentence on what was made of the labels of a kind, uncertain or blank."""
    counted = {"zeros": "counted as absent", "ones": "counted as present", "ignore": "left out, a class at a time"}
    by_word = {word: [name.replace("_", " ") for name, own in words.items() if own == word] for word in counted}
    parts = [f"{counted[word]} for {', '.join(names)}" for word, names in by_word.items() if names]
    if len(parts) == 1:
        parts = [counted[next(iter(words.values()))]]
    return f"{kind.capitalize()} labels were {', '.join(parts)}, in shortcuts and wrong labels."
