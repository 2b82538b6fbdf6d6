"""Models tested on another collection, on scans without a copy in their own.

The collections overlap (lungkeras.datasets.kinship): the COVID-19 database holds all viral scans of the pneumonia
collection's folder `train`, and its normal ones. Therefore
    pneumonia models   are tested on covid's normal scans, never on its viral ones
    covid models       are tested on the viral and normal scans of the pneumonia collection's folder `test`
and models of other related collections on all scans. In each case, scans are left out that are copies
(preparation.duplicates) of scans that the model, or the model that its weights come from, was made with. On 150 real
scans, the search finds at least 97 of 100 copies that were re-encoded, resized, blurred, changed in tone, cropped or
padded by up to 8 % per side, written on, mirrored, inverted or turned by up to 2 degrees. It finds few copies that were
cropped by 8 % on a single side. If more than a quarter of the scans of a related collection are copies, the model is
not tested on it: one in a hundred of the rest would be a missed copy. Drawn collections follow the same rules, which
tests the machinery.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.findings import shared_classes
from lungkeras.datasets.kinship import called, direct, why_kin
from lungkeras.datasets.policies import labels_under
from lungkeras.datasets.registry import DATASETS, entry_of, title
from lungkeras.evaluation.comparison import macro_scores
from lungkeras.evaluation.run_tables import resized
from lungkeras.preparation.duplicates import across
from lungkeras.preparation.folder import Prepared
from lungkeras.preparation.prints import Fingerprints, load_fingerprints
from lungkeras.scores import intervals, metrics, share_intervals
from lungkeras.study.runs import Run, patients_of, split_of
from lungkeras.training.outputs import outputs

FEWEST_SCANS = 20  # fewest scans of a class that is scored
MOST_COPIES = 0.25  # share of a related collection: the search misses 3 in 100, so one in a hundred of the rest
SCAN_COLUMNS = ["dataset", "other", "class", "scans", "allowed", "copies", "left", "note"]
COLUMNS = [
    "run", "dataset", "other", "measure", "class", "scans", "patients", "value", "low", "high",
    "own_scans", "own_value", "own_low", "own_high",
]  # fmt: skip
MACROS = ("macro_f1", "macro_auroc")


@dataclass(frozen=True)
class Rule:
    """What models of `dataset` may be tested on in `other`: the classes that mean the same, {own: the other's}, without
    those excluded, and the folder of its source if only one is allowed."""

    dataset: str
    other: str
    classes: Mapping[str, str]
    folder: str = ""
    why: str = ""


NO_RULE = "no class means the same in another collection of the study, or labels are of another task there"


@dataclass(frozen=True)
class Collection:
    """A prepared dataset with the fingerprints of its scans, row by row of its records.

    `pairs` are the copies across collections found by `duplicates.across`, if the search was done already.
    """

    prepared: Prepared
    prints: Fingerprints
    pairs: pd.DataFrame | None = field(default=None, compare=False, repr=False)

    @property
    def records(self) -> pd.DataFrame:
        return self.prepared.records

    def labels(self, classes: Sequence[str]) -> np.ndarray:
        """float32 (scans, classes) under the policies of the prepared dataset; NaN for unknown labels."""
        return labels_under(self.records, classes, self.prepared.uncertain, self.prepared.blank)

    def images(self, rows: np.ndarray) -> np.ndarray:
        """The prepared scans of these rows of the records, uint8 (rows, size, size)."""
        splits = self.records["split"].to_numpy(str)
        places = self.records.groupby("split").cumcount().to_numpy()
        return np.stack([self.prepared.images[splits[row]][places[row]] for row in rows])


def open_collections(
    datasets: Mapping[str, Prepared], folders: Mapping[str, Path], kept: Path | None = None
) -> dict[str, Collection]:
    """{dataset: collection} of prepared datasets and their folders; one without fingerprints is left out.

    Copies across them are searched for at once; `kept` is where `duplicates.across` caches its results.
    """
    files = {name: Path(folders[name]) / "fingerprints.npz" for name in datasets}
    prints = {name: load_fingerprints(file) for name, file in files.items() if file.is_file()}
    pairs = across({name: (own, datasets[name].records) for name, own in prints.items()}, kept)
    return {name: Collection(datasets[name], own, pairs) for name, own in prints.items()}


def copies(collection: Collection, other: Collection, asked: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Which of the scans `asked`, bool (scans of other,), have a copy in `collection`: bool (scans of other,).

    `among`, bool (scans of collection,), limits the search to these scans, by default all.
    """
    names = collection.prepared.name, other.prepared.name
    pairs = collection.pairs
    if pairs is None:
        pairs = across({names[0]: (collection.prints, collection.records), names[1]: (other.prints, other.records)})
    ends = {"dataset": "other_dataset", "scan": "other"}
    turned = pairs.rename(columns=ends | {end: start for start, end in ends.items()})
    both = pd.concat([pairs, turned], ignore_index=True)
    both = both[(both["dataset"] == names[0]) & (both["other_dataset"] == names[1])]
    if among is not None:
        both = both[both["scan"].isin(collection.records.loc[among, "scan"])]
    return asked & other.records["scan"].isin(both["other"]).to_numpy()


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
        why = f"the {never} scans of {called(other)} are those of {called(dataset)}: never asked"
        asked = {own: theirs for own, theirs in shared.items() if theirs not in row.wholly}
        return Rule(dataset, other, asked, why=why)
    if row and other == row.parent and row.spared:
        why = f"{called(dataset)} holds {row.what} of {called(other)}: only the folder {row.spared} is asked"
        return Rule(dataset, other, shared, row.spared, why)
    return Rule(dataset, other, shared)


def _labels(name: str, collections: Mapping[str, Collection]) -> tuple[str, tuple[str, ...]]:
    """Task and classes of a dataset, as it was prepared where it is there."""
    told = collections[name].prepared if name in collections else entry_of(name)
    return (told.task, tuple(told.classes)) if told else ("", ())


def refused(dataset: str, other: str, asked: np.ndarray, copied: np.ndarray) -> str:
    """Why a model made with `dataset` can't be tested on `other`, in a sentence; empty if it can.

    asked, copied: bool (scans of other,): the scans to test on, and those of them with a copy in `dataset`. If the
    table of kinship says which scans the two share (`rule_of`), any number of copies among the others is accepted.
    """
    if _settled(dataset, other) or not why_kin(dataset, other) or (asked & copied).sum() <= MOST_COPIES * asked.sum():
        return ""
    return (
        f"{why_kin(dataset, other)}: of {asked.sum():,} scans, {(asked & copied).sum():,} are found to be copies, too "
        "many for a search that misses some"
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
            if reason := _impossible(rule, collections):
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


def _impossible(rule: Rule, collections: Mapping[str, Collection]) -> str:
    for name in (rule.dataset, rule.other):
        if name not in collections:
            return f"the study holds no fingerprints of {called(name)}: copies can't be looked for"
    if collections[rule.dataset].prepared.drawn != collections[rule.other].prepared.drawn:
        return "one collection is drawn, the other real: nothing can be learned of either"
    return ""


def _note(rule: Rule, name: str, left: int, own: Collection) -> str:
    said = [rule.why] if rule.folder or name not in rule.classes else []
    if not rule.why and (why := why_kin(rule.dataset, rule.other)):
        said.append(f"{why}: copies are left out")
    if name in rule.classes and left < FEWEST_SCANS:
        said.append(f"fewer than {FEWEST_SCANS} are left: not scored" if left else "none is left")
    elif name in rule.classes and len(rule.classes) == 1:
        said.append("the recall of one class alone rewards a model that always answers with it: not scored")
    if own.prepared.drawn:
        said.append("drawn: a test of the machinery")
    return "; ".join(said)


def chain(run: Run, runs: Mapping[str, Run]) -> list[Run] | None:
    """A run, then the run that its weights come from, and so on; None if one is missing or of unknown origin.

    ImageNet weights have seen none of our collections.
    """
    found = [run]
    while run.weights == "transfer":
        origin = Path(str(run.params["weights"])).parent.name
        if origin not in runs or origin in [seen.name for seen in found]:
            return None
        run = runs[origin]
        found.append(run)
    return found


def learnt_from(run: Run, runs: Mapping[str, Run]) -> list[str] | None:
    """The datasets that a run's weights have seen, its own first; None if their origin is unknown."""
    seen = chain(run, runs)
    return seen and list(dict.fromkeys(run.dataset for run in seen))


def external_validation(
    runs: Mapping[str, Run], collections: Mapping[str, Collection], load, every_run: Mapping[str, Run] | None = None
) -> pd.DataFrame:
    """The score of each run on another collection, next to the same measure on its own test split, with COLUMNS.

    measure is `recall` (the share of the scans of `class` that are called so), macro_f1 or macro_auroc. With only one
    class nothing is scored, as a constant answer would have a recall of 1. A run chooses among the classes that both
    collections share, on its own test split too. All splits of the other collection are used; of a collection that the
    run's weights come from, only the test split. A class of fewer than 20 scans is not scored. Intervals are 95 %
    intervals over patients.

    `load` returns the keras.Model of a run by its name; `every_run`, by default `runs`, holds the runs that weights
    come from. Runs whose weights are of unknown origin are left out.
    """
    rows = []
    for rule in rules(collections, collections):
        if _impossible(rule, collections):
            continue
        other = collections[rule.other]
        may = allowed(rule, other)
        for run in runs.values():
            seen = learnt_from(run, every_run or runs)
            if run.dataset != rule.dataset or seen is None or not set(seen) - {rule.other} <= set(collections):
                continue
            kept = may.copy()
            if rule.other in seen:
                kept &= (other.records["split"] == "test").to_numpy()
            copied = {name: copies(collections[name], other, may) for name in seen if name != rule.other}
            if any(refused(name, rule.other, may, found) for name, found in copied.items()):
                continue
            kept &= ~np.any([*copied.values()], axis=0)
            rows += _scores(run, rule, other, kept, load)
    return pd.DataFrame(rows, columns=COLUMNS)


def _scores(run: Run, rule: Rule, other: Collection, kept: np.ndarray, load) -> list[dict]:
    shared = shared_classes(run.dataset, run.classes, rule.other, other.prepared.classes)
    truth = dict(zip(shared, other.labels(list(shared.values())).T, strict=True))
    signs = (1,) if run.task == "multiclass" else (1, 0)
    scored = [name for name in rule.classes if min((truth[name][kept] == sign).sum() for sign in signs) >= FEWEST_SCANS]
    # A model that always answers with the one class would have a recall of 1.
    if len(scored) < 2:
        return []
    classes = tuple(shared if run.task == "multiclass" else scored)
    if run.task == "multiclass":
        kept = kept & np.any([truth[name] == 1 for name in scored], axis=0)
    rows = np.flatnonzero(kept)
    model = load(run.name)
    images = np.stack([resized(image, model.input_shape[1]) for image in other.images(rows)])
    columns = [run.classes.index(name) for name in classes]
    # The softmax over some of the logits is the softmax over all, divided by its sum over these.
    given = metrics.probabilities(outputs(model, images)[:, columns], run.task)
    records = other.records.iloc[rows]
    patients = records["patient"].to_numpy(str)
    own = np.stack([truth[name][rows] for name in classes], axis=1)
    own = own if np.isnan(own).any() else own.astype(int)
    found = _measures(own, given, patients, classes, scored, run.task)
    own = {(row["measure"], row["class"]): row for row in _own(run, classes, scored)}
    about = {"run": run.name, "dataset": run.dataset, "other": rule.other}
    beside = {"own_scans": "scans", "own_value": "value", "own_low": "low", "own_high": "high"}
    return [
        about | row | {key: own[row["measure"], row["class"]][source] for key, source in beside.items()}
        for row in found
    ]


def _own(run: Run, classes: tuple[str, ...], scored: list[str]) -> list[dict]:
    """The same measures on the run's own test scans of the classes that are scored."""
    labels, given = split_of(run, "test")
    columns, patients = [run.classes.index(name) for name in classes], patients_of(run, "test")
    if run.task == "multiclass":
        rows = labels[:, [run.classes.index(name) for name in scored]].any(axis=1)
        labels, given, patients = labels[rows], given[rows], patients[rows]
    given = given[:, columns]
    if run.task == "multiclass":
        given = given / np.maximum(given.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return _measures(labels[:, columns], given, patients, classes, scored, run.task)


def _measures(
    labels, given, patients, classes: tuple[str, ...], scored: list[str], task: str = "multiclass"
) -> list[dict]:
    """The recall of each class of `scored`, from arrays (scans, classes), and macro scores if these are two or more.

    A recall over fewer than ten patients has no interval. NaN if a probability is NaN or infinite.
    """
    decided, rows = metrics.decide(given, task), []
    told = 1.0 if np.isfinite(given).all() else np.nan
    for name in scored:
        column = classes.index(name)
        has = labels[:, column] == 1
        hits, of_class = told * decided[has, column], patients[has]
        value, low, high = np.nan, np.nan, np.nan
        if has.any():
            value = float(hits.mean())
            if len(set(of_class)) >= intervals.FEWEST_PATIENTS:
                low, high = share_intervals.share_interval(hits, of_class)
        counted = {"scans": int(has.sum()), "patients": len(set(of_class))}
        rows.append({"measure": "recall", "class": name} | counted | {"value": value, "low": low, "high": high})
    if len(scored) > 1:
        scores = macro_scores(labels, given, patients, task, decided=decided)
        for name in MACROS:
            ends = {"value": scores[name], "low": scores[f"{name}_low"], "high": scores[f"{name}_high"]}
            rows.append({"measure": name, "class": "", "scans": len(labels), "patients": len(set(patients))} | ends)
    return rows
