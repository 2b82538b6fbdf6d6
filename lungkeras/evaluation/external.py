"""Models asked about another collection, on scans of which no copy is found in their own.

The collections overlap: of the pneumonia collection, the COVID-19 database holds all viral scans of the folder `train`
and its normal ones; its other normals are of the collection that xray8 is drawn from. So
    pneumonia models   are asked covid's normal scans, never its viral ones
    covid models       are asked the viral and normal scans of the pneumonia collection's folder `test`
less every scan of which the audit finds a copy (preparation.duplicates) in what the model, or the model that its
weights come from, was made with. Of 150 real scans, the search finds 97 in 100 copies or more that were re-encoded,
resized, blurred, of another tone, cropped or padded by up to 8 % a side, written on, mirrored, inverted or turned by up
to 2 degrees; of a crop of a single side by 8 % it finds few. A drawn
collection goes by the same rules: it tests the machinery.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.registry import DATASETS, known_dataset
from lungkeras.evaluation.comparison import macro_scores
from lungkeras.evaluation.run_tables import resized, shared_classes
from lungkeras.preparation.duplicates import across
from lungkeras.preparation.folder import Prepared
from lungkeras.preparation.prints import Fingerprints, load_fingerprints
from lungkeras.scores import intervals, metrics
from lungkeras.study.runs import Run, patients_of, split_of
from lungkeras.training.outputs import outputs

FEWEST_SCANS = 20  # of a class, to be scored
SCAN_COLUMNS = ["dataset", "other", "class", "scans", "allowed", "copies", "left", "note"]
COLUMNS = [
    "run", "dataset", "other", "measure", "class", "scans", "patients", "value", "low", "high",
    "own_scans", "own_value", "own_low", "own_high",
]  # fmt: skip
MACROS = ("macro_f1", "macro_auroc")


@dataclass(frozen=True)
class Rule:
    """What models of `dataset` may be asked of `other`: its classes, from a folder of its source where one is named."""

    dataset: str
    other: str
    classes: tuple[str, ...]
    folder: str = ""
    why: str = ""


RULES = (
    Rule(
        "pneumonia",
        "covid",
        ("normal",),
        why="the viral scans of the COVID-19 database are those of the pneumonia collection: never asked",
    ),
    Rule(
        "covid",
        "pneumonia",
        ("viral_pneumonia", "normal"),
        folder="test",
        why="the COVID-19 database holds the folder train: only the folder test is asked",
    ),
)
NO_RULE = "findings, not exclusive diseases: no class means the same in another collection"
UNKNOWN = "no rule says which scans of another collection its models may be asked"


@dataclass(frozen=True)
class Collection:
    """A prepared dataset with the fingerprints of its scans, row by row of its records."""

    prepared: Prepared
    prints: Fingerprints
    searched: dict = field(default_factory=dict, compare=False, repr=False)  # what `copies` has found already

    @property
    def records(self) -> pd.DataFrame:
        return self.prepared.records

    def images(self, rows: np.ndarray) -> np.ndarray:
        """The prepared scans of these rows of the records, uint8 (rows, size, size)."""
        splits = self.records["split"].to_numpy(str)
        places = self.records.groupby("split").cumcount().to_numpy()
        return np.stack([self.prepared.images[splits[row]][places[row]] for row in rows])


def open_collections(datasets: Mapping[str, Prepared], folders: Mapping[str, Path]) -> dict[str, Collection]:
    """{dataset: collection} of prepared datasets and their folders; one without fingerprints is left out."""
    files = {name: Path(folders[name]) / "fingerprints.npz" for name in datasets}
    return {name: Collection(datasets[name], load_fingerprints(file)) for name, file in files.items() if file.is_file()}


def copies(collection: Collection, other: Collection, asked: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Which of the scans `asked`, bool (scans of other,), have a copy in `collection`: bool (scans of other,).

    `among`, bool (scans of collection,), are the scans that copies are looked for among, by default all.
    """
    question = (other.prepared.name, asked.tobytes(), None if among is None else among.tobytes())
    if question not in collection.searched:
        collection.searched[question] = _copies(collection, other, asked, among)
    return collection.searched[question]


def _copies(collection: Collection, other: Collection, asked: np.ndarray, among: np.ndarray | None) -> np.ndarray:
    records = other.records[asked].reset_index(drop=True)
    prints, own = collection.prints, collection.records
    if among is not None:
        prints, own = prints[among], own[among].reset_index(drop=True)
    pairs = across({"collection": (prints, own), "other": (other.prints[asked], records)})
    found = {
        scan
        for end, name in (("dataset", "scan"), ("other_dataset", "other"))
        for scan in pairs.loc[pairs[end] == "other", name]
    }
    return other.records["scan"].isin(found).to_numpy()


def allowed(rule: Rule, other: Collection) -> np.ndarray:
    """Which scans a rule lets be asked, before copies are looked for: bool (scans,)."""
    records = other.records
    rows = records[list(rule.classes)].any(axis=1).to_numpy()
    if rule.folder:
        folders = records["path"].str.split("/").str[:-1]
        rows = rows & folders.map(lambda parts: rule.folder in [part.lower() for part in parts]).to_numpy(bool)
    return rows


def external_scans(collections: Mapping[str, Collection], datasets: Mapping[str, object] | None = None) -> pd.DataFrame:
    """How many scans of another collection the models of each dataset can be asked, with SCAN_COLUMNS.

    A row a rule and class: the class's `scans` in the other collection, those `allowed` by the rule, of these the
    `copies` of own scans, and what is `left`. Where nothing can be asked, `note` says why. `datasets` are those of the
    study, by default those of `collections`.
    """
    rows = []
    for dataset in datasets or collections:
        rules = [rule for rule in RULES if rule.dataset == dataset]
        if not rules:
            rows.append({"dataset": dataset, "note": NO_RULE if dataset in DATASETS else UNKNOWN})
        for rule in rules:
            about = {"dataset": dataset, "other": rule.other}
            if reason := _impossible(rule, collections):
                rows.append(about | {"note": reason})
                continue
            own, other = collections[dataset], collections[rule.other]
            may = allowed(rule, other)
            copied = copies(own, other, may)
            for name in [name for name in own.prepared.classes if name in other.prepared.classes]:
                has = (other.records[name] == 1).to_numpy()
                left = has & may & ~copied
                counted = {"scans": has.sum(), "allowed": (has & may).sum(), "copies": (has & copied).sum()}
                note = {"left": left.sum(), "note": _note(rule, name, left.sum(), own)}
                rows.append(about | {"class": name} | counted | note)
    return pd.DataFrame(rows, columns=SCAN_COLUMNS).astype(
        dict.fromkeys(("scans", "allowed", "copies", "left"), "Int64")
    )


def _impossible(rule: Rule, collections: Mapping[str, Collection]) -> str:
    for name in (rule.dataset, rule.other):
        if name not in collections:
            return f"the study holds no fingerprints of {known_dataset(name).title}: copies can't be looked for"
    if collections[rule.dataset].prepared.drawn != collections[rule.other].prepared.drawn:
        return "one collection is drawn, the other real: nothing can be learned of either"
    return ""


def _note(rule: Rule, name: str, left: int, own: Collection) -> str:
    said = [rule.why] if rule.folder or name not in rule.classes else []
    if name in rule.classes and left < FEWEST_SCANS:
        said.append(f"fewer than {FEWEST_SCANS} are left: not scored" if left else "none is left")
    elif name in rule.classes and len(rule.classes) == 1:
        said.append("the recall of one class alone rewards a model that always answers with it: not scored")
    if own.prepared.drawn:
        said.append("drawn: a test of the machinery")
    return "; ".join(said)


def learnt_from(run: Run, runs: Mapping[str, Run]) -> list[str] | None:
    """The datasets that a run's weights have seen, its own first; None where they do not tell what they come from.

    Weights of ImageNet have seen none of ours.
    """
    seen, visited = [run.dataset], {run.name}
    while run.weights == "transfer":
        origin = Path(str(run.params["weights"])).parent.name
        if origin in visited or origin not in runs:
            return None
        run = runs[origin]
        visited.add(origin)
        seen.append(run.dataset)
    return list(dict.fromkeys(seen))


def external_validation(
    runs: Mapping[str, Run], collections: Mapping[str, Collection], load, every_run: Mapping[str, Run] | None = None
) -> pd.DataFrame:
    """What each run scores on another collection, beside the same measure on its own test split, with COLUMNS.

    measure is `recall` (of `class`, the share of its scans that are called so), macro_f1 and macro_auroc. Where only
    one class can be asked nothing is scored, as a constant answer would have a recall of 1. A run chooses among the
    classes that both collections know, on its own test split too. All
    splits of the other collection are asked; of one that the run's weights come from, the test split alone. A class of
    fewer than 20 scans is not scored. Intervals are of 95 %, over patients.

    `load` gives the keras.Model of a run by its name; `every_run`, by default `runs`, holds the runs that weights come
    from. Runs whose weights do not tell where they come from are left out.
    """
    rows, copied = [], {}
    for rule in RULES:
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
            for dataset in set(seen) - {rule.other}:
                if (dataset, rule.other) not in copied:
                    copied[dataset, rule.other] = copies(collections[dataset], other, may)
                kept &= ~copied[dataset, rule.other]
            rows += _scores(run, rule, other, kept, load)
    return pd.DataFrame(rows, columns=COLUMNS)


def _scores(run: Run, rule: Rule, other: Collection, kept: np.ndarray, load) -> list[dict]:
    classes = shared_classes(run, other.prepared)
    scored = [name for name in rule.classes if (other.records.loc[kept, name] == 1).sum() >= FEWEST_SCANS]
    # A model that always answers with the one class would have a recall of 1.
    scored = scored if len(scored) > 1 else []
    rows = np.flatnonzero(kept & other.records[scored].any(axis=1).to_numpy()) if scored else []
    if len(rows) == 0:
        return []
    model = load(run.name)
    images = np.stack([resized(image, model.input_shape[1]) for image in other.images(rows)])
    columns = [run.classes.index(name) for name in classes]
    # The softmax over some of the logits is the softmax over all, divided by its sum over these.
    given = metrics.probabilities(outputs(model, images)[:, columns], run.task)
    records = other.records.iloc[rows]
    found = _measures(records[list(classes)].to_numpy(int), given, records["patient"].to_numpy(str), classes, scored)
    own = {(row["measure"], row["class"]): row for row in _own(run, classes, scored)}
    about = {"run": run.name, "dataset": run.dataset, "other": rule.other}
    beside = {"own_scans": "scans", "own_value": "value", "own_low": "low", "own_high": "high"}
    return [
        about | row | {key: own[row["measure"], row["class"]][source] for key, source in beside.items()}
        for row in found
    ]


def _own(run: Run, classes: tuple[str, ...], scored: list[str]) -> list[dict]:
    """The same measures on the run's own test scans of the classes that are scored."""
    labels, raw = split_of(run, "test")
    columns = [run.classes.index(name) for name in classes]
    rows = labels[:, [run.classes.index(name) for name in scored]].any(axis=1)
    given = raw[rows][:, columns]
    given = given / np.maximum(given.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return _measures(labels[rows][:, columns], given, patients_of(run, "test")[rows], classes, scored)


def _measures(labels, given, patients, classes: tuple[str, ...], scored: list[str]) -> list[dict]:
    """Of (scans, classes) the recall of each class of `scored`, and macro scores where these are two or more.

    A recall of fewer than ten patients has no interval. NaN where a probability is NaN or infinite.
    """
    decided, rows = metrics.decide(given, "multiclass"), []
    told = 1.0 if np.isfinite(given).all() else np.nan
    for name in scored:
        column = classes.index(name)
        has = labels[:, column] == 1
        hits, of_class = told * decided[has, column], patients[has]
        value, low, high = np.nan, np.nan, np.nan
        if has.any():
            value = float(hits.mean())
            if len(set(of_class)) >= intervals.FEWEST_PATIENTS:
                low, high = intervals.share_interval(hits, of_class)
        counted = {"scans": int(has.sum()), "patients": len(set(of_class))}
        rows.append({"measure": "recall", "class": name} | counted | {"value": value, "low": low, "high": high})
    if len(scored) > 1:
        scores = macro_scores(labels, given, patients, "multiclass", decided=decided)
        for name in MACROS:
            ends = {"value": scores[name], "low": scores[f"{name}_low"], "high": scores[f"{name}_high"]}
            rows.append({"measure": name, "class": "", "scans": len(labels), "patients": len(set(patients))} | ends)
    return rows
