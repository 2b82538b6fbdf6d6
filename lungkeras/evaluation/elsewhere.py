"""One run on another prepared dataset: its scores there, on scans that it has not seen, or why it has no scores.

If the two collections are related (lungkeras.datasets.kinship), a score needs more than the run: the fingerprints of
both, to find and leave out copies, or a list of which scans are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets import findings, policies
from lungkeras.datasets.kinship import called, why_kin
from lungkeras.datasets.lists import BrokenListError, list_text, separator_of
from lungkeras.datasets.registry import DATASETS
from lungkeras.datasets.split_lists import ends, look_up
from lungkeras.evaluation.external_rules import allowed, refused, rule_of
from lungkeras.evaluation.run_tables import resized
from lungkeras.evaluation.shared_scans import Collection, chain, copies, open_collections
from lungkeras.preparation.folder import Prepared, load_prepared
from lungkeras.scores import metrics
from lungkeras.study.runs import Run, read_run
from lungkeras.system.errors import RunError
from lungkeras.system.places import from_project
from lungkeras.system.text import printable
from lungkeras.system.untrusted import json_files, table_files
from lungkeras.training.outputs import outputs

NO_KIN = "not known to hold scans of each other"
UNSEARCHED = "copies were not looked for: fingerprints of both are needed"


def evaluate_on(
    folder: Path | str,
    prepared: Prepared,
    *,
    split: str = "test",
    batch_size: int = 64,
    loose: bool = False,
    collections: Mapping[str, Collection] | None = None,
    mapping: pd.DataFrame | None = None,
) -> dict:
    """Scores a run on another prepared dataset, over the classes that mean the same in both (datasets.findings), under
    that dataset's policies.

    Multiclass scans with a label outside those classes are left out, and probabilities are divided by their sum over
    the shared classes, as if the model chose only among these. Multilabel probabilities are kept as
    they are, and scans without a known shared label are left out. With `loose`, classes that mean about the same are
    shared too, and named in the answer. Prepared images of another size than the model's are resized (areas averaged).
    On a dataset that the run, or the run that its weights come from, was trained on, patients used for training or
    model selection are left out, because another split of the same scans may have them in its test.

    `collections` (`open_for`) holds the fingerprints of this dataset and of those that the run was trained on: copies
    of training scans, and the other scans of their patients, are left out. `mapping` (`read_mapping`) says which scans
    are the same: scans of patients used for training or model selection are left out.

    Returns {run, dataset, split, classes, loose, kinship, left_out_as, scans, left_out, macro_f1, macro_auroc,
    per_class}, and `policy` where the split has labels that are uncertain or blank: kinship says how the two
    collections are related, left_out_as counts the scans left out by reason.
    Raises RunError if fewer than two classes are shared, the tasks differ, no scan is left, or the collections are
    related and neither fingerprints nor a mapping show which scans they share.
    """
    options = Options(split, batch_size, loose, collections or {}, mapping)
    return _evaluate(folder, [prepared], options)[0]


def evaluate_policies(folder: Path | str, prepared: Prepared, **options) -> list[dict]:
    """What `evaluate_on` returns with the same options, under each policy of uncertain and blank labels that changes
    the labels of this split.

    The run's own labels were made under the policy in its params; its predictions are the same under all. Raises
    RunError as `evaluate_on` does.
    """
    options = Options(**options)
    unknown = policies.unknown_labels(prepared.split(options.split), prepared.classes)
    different = {str(policies.effect(unknown, **policy)): policy for policy in reversed(policies.POLICIES)}
    return _evaluate(folder, [replace(prepared, **policy) for policy in reversed(different.values())], options)


@dataclass(frozen=True)
class Options:
    """The options of `evaluate_on`."""

    split: str = "test"
    batch_size: int = 64
    loose: bool = False
    collections: Mapping[str, Collection] = field(default_factory=dict)
    mapping: pd.DataFrame | None = None


def _evaluate(folder: Path | str, each: Sequence[Prepared], options: Options) -> list[dict]:
    """`evaluate_on` for one prepared dataset under several policies; the model predicts once."""
    from lungkeras import models

    run, prepared = read_run(folder), each[0]
    classes = shared_classes(run, prepared, loose=options.loose)
    unseen = _unseen(folder, run, prepared, options)
    mine = [prepared.classes.index(name) for name in classes.values()]
    others = [column for column in range(len(prepared.classes)) if column not in mine]
    labels = [one.labels(options.split) for one in each]
    if run.task == "multiclass":
        reason, usable = "with other labels", [~(own[:, others] == 1).any(axis=1) for own in labels]
    else:
        reason, usable = "with unknown labels", [~np.isnan(own[:, mine]).all(axis=1) for own in labels]
    kept = [unseen.kept & own for own in usable]
    if not all(chosen.any() for chosen in kept):
        raise RunError(
            f"{run.name} on {prepared.name}: no scan of the split {options.split} has only "
            f"{', '.join(classes.values())} and a patient that the run was not trained on."
        )
    rows = np.flatnonzero(np.any(kept, axis=0))
    model = models.load_model(Path(folder) / "best.keras")
    images = np.stack([resized(prepared.images[options.split][row], model.input_shape[1]) for row in rows])
    logits = outputs(model, images, batch_size=options.batch_size)
    theirs = logits[:, [run.classes.index(name) for name in classes]]
    # The softmax over some of the logits is the softmax over all, divided by its sum over these.
    probabilities = metrics.probabilities(theirs, run.task)
    strict = findings.shared_classes(run.dataset, run.classes, prepared.name, prepared.classes)
    about = {"run": run.name, "dataset": prepared.name, "split": options.split, "classes": list(classes)}
    about["loose"] = {own: name for own, name in classes.items() if strict.get(own) != name}
    about["kinship"] = "; ".join(dict.fromkeys(unseen.said))
    unknown, found = policies.unknown_labels(prepared.split(options.split), prepared.classes), []
    for one, own, chosen in zip(each, labels, kept, strict=True):
        policy = {"policy": policies.policy_text(one.uncertain, one.blank)} if unknown else {}
        unusable = int((unseen.kept & ~chosen).sum())
        counted = {"left_out_as": unseen.counts | ({reason: unusable} if unusable else {})}
        counted |= {"scans": int(chosen.sum()), "left_out": int((~chosen).sum())}
        scored = metrics.scores(own[chosen][:, mine], probabilities[chosen[rows]], tuple(classes), run.task)
        found.append(about | policy | counted | scored)
    return found


def _unseen(folder: Path | str, run: Run, prepared: Prepared, options: Options) -> Unseen:
    """The scans of a split that neither the run nor those that its weights come from have seen. Raises RunError."""
    unseen, known = Unseen(prepared.split(options.split)), _learned(folder, run)
    learned = known or [run]
    for each in learned:
        if each.dataset == prepared.name:
            unseen.leave_out(_seen(each, unseen.records), "of patients that the run was trained or chosen on")
    for dataset in dict.fromkeys(each.dataset for each in learned):
        if dataset != prepared.name:
            _leave_out_kin(unseen, dataset, learned, prepared, options)
    if known is None:
        unseen.said.append("the weights do not tell what they were learned from")
    return unseen


def shared_classes(run: Run, prepared: Prepared, *, loose: bool = False) -> dict[str, str]:
    """{class of the run: class of the dataset that means the same}, in the run's order; RunError for fewer than two."""
    if run.task != prepared.task:
        raise RunError(
            f"{run.name} is {run.task} and {prepared.name} is {prepared.task}: their classes are not the same notions. "
            f"Give a prepared dataset that is {run.task}."
        )
    classes = findings.shared_classes(run.dataset, run.classes, prepared.name, prepared.classes, loose=loose)
    if len(classes) < 2:
        raise RunError(
            f"{run.name} and {prepared.name} share {', '.join(classes) or 'no class'}; two classes are needed. "
            f"The run knows {', '.join(run.classes)}; the dataset {', '.join(prepared.classes)}."
        )
    return classes


@dataclass
class Unseen:
    """The rows of some records still to be scored, the number left out by reason, and what was found."""

    records: pd.DataFrame
    kept: np.ndarray = field(init=False)
    counts: dict[str, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.kept = np.ones(len(self.records), dtype=bool)

    def leave_out(self, rows: np.ndarray, reason: str) -> None:
        """Leaves out `rows`, bool (scans,); only those not left out before are counted."""
        if new := int((self.kept & rows).sum()):
            self.counts[reason] = self.counts.get(reason, 0) + new
        self.kept &= ~rows


def _learned(folder: Path | str, run: Run) -> list[Run] | None:
    """A run and the runs that its weights come from, in the same folder; None if one of them is missing."""
    runs, beside = {run.name: run}, Path(folder).resolve().parent
    while (found := chain(run, runs)) is None:
        last = next(reversed(runs.values()))
        origin = beside / Path(str(last.params["weights"])).parent.name
        if origin.name in runs or not (origin / "metrics.json").is_file():
            return None
        runs[origin.name] = read_run(origin)
    return found


def open_for(folder: Path | str, on: Path | str) -> dict[str, Collection]:
    """The collections, with their fingerprints, of a prepared folder and of a run's training data.

    Those of the run's params that are not prepared on this machine, or without fingerprints, are left out.
    """
    run = read_run(folder)
    places = {
        learned.dataset: from_project(str(learned.params.get("prepared", ""))) / learned.dataset
        for learned in _learned(folder, run) or [run]
    }
    other = load_prepared(on)
    places = {name: place for name, place in places.items() if (place / "fingerprints.npz").is_file()}
    if not set(places) - {other.name} or not (Path(on) / "fingerprints.npz").is_file():
        return {}
    places[other.name] = Path(on)
    opened = {name: other if name == other.name else load_prepared(place) for name, place in places.items()}
    return open_collections(opened, places)


def read_mapping(file: Path | str) -> pd.DataFrame:
    """A list of which scans are the same: two or more columns of names, one row per pair.

    A CSV, or JSON with a list of objects, as the RSNA publishes its mapping to NIH ChestX-ray14. Raises RunError.
    """
    try:
        if Path(file).suffix.lower() == ".json":
            table = _names_in_json(Path(file))
        else:
            text = list_text(Path(file), own=True)
            separator = separator_of(text.partition("\n")[0])
            table = table_files.parse_csv(text, sep=separator, dtype=str, keep_default_na=False)
    except (OSError, ValueError, AttributeError, BrokenListError) as error:
        raise RunError(
            f"{file} can't be read ({error}): expected a CSV with a column of scans for each collection"
        ) from None
    if table.shape[1] < 2:
        raise RunError(f"{file}: expected a column of scans of each collection, found {', '.join(table.columns)}")
    return table


def _names_in_json(file: Path) -> pd.DataFrame:
    """The columns of a list of objects that hold text alone: lists of labels are no names of scans."""
    listed = pd.DataFrame(json_files.read(file))
    return listed.loc[:, listed.map(lambda cell: isinstance(cell, str)).all()].astype("str")


def _leave_out_kin(unseen: Unseen, dataset: str, learned: Sequence[Run], prepared: Prepared, options: Options) -> None:
    """Leaves out scans that the runs may have seen in another dataset. Raises RunError for related collections."""
    why, records = why_kin(dataset, prepared.name), unseen.records
    collections, mapping = options.collections, options.mapping
    unseen.said.append(why or f"{called(dataset)} and {called(prepared.name)} are {NO_KIN}")
    seen = None
    if mapping is not None:
        seen = _mapped(records, mapping, [run for run in learned if run.dataset == dataset], prepared.name)
    if seen is not None:
        unseen.leave_out(seen, "by the mapping, of patients that the run was trained or chosen on")
    if dataset not in collections or prepared.name not in collections:
        if why and seen is None:
            joins = f"the mapping joins no scan of {dataset}" if mapping is not None else "no mapping is given"
            raise RunError(
                f"{learned[0].name} on {prepared.name} is no test elsewhere: {why}; {joins}. Prepare both anew where "
                "they have no fingerprints.npz, so that copies are looked for, or say which scans are the same: "
                "--mapping FILE."
            )
        if seen is None:
            unseen.said.append(UNSEARCHED)
        return
    own, other = collections[dataset], collections[prepared.name]
    question = other.records["scan"].isin(records["scan"]).to_numpy()
    rule = rule_of(dataset, prepared.name, collections) if seen is None else None
    if rule and rule.why:
        if len(rule.classes) < 2:
            raise RunError(
                f"{learned[0].name} on {prepared.name} is no test elsewhere: {rule.why}, which leaves one class. Two "
                "are needed."
            )
        may = allowed(rule, other)
        unseen.leave_out(~records["scan"].isin(other.records.loc[may, "scan"]).to_numpy(), rule.why)
        question = question & may
    copied = copies(own, other, question)
    if seen is None and (reason := refused(dataset, prepared.name, question, copied)):
        raise RunError(
            f"{learned[0].name} on {prepared.name} is no test elsewhere: {reason}. Say which scans are the same: "
            "--mapping FILE."
        )
    scans = records["scan"].isin(other.records.loc[copied, "scan"])
    unseen.said.append(f"of {question.sum():,} scans, {scans.sum():,} are found to be copies and left out")
    unseen.leave_out(scans.to_numpy(), f"copies of scans of {called(dataset)}")
    if "patient" in records:
        patients = set(records.loc[scans, "patient"])
        unseen.leave_out(records["patient"].isin(patients).to_numpy(), "further scans of the patients of copies")


def _mapped(records: pd.DataFrame, mapping: pd.DataFrame, learned: Sequence[Run], name: str) -> np.ndarray | None:
    """Which scans are of patients that these runs of one dataset were trained or selected on: bool (scans,).

    Columns are recognised by their contents. None if no column holds scans of the runs' dataset; RunError if none holds
    scans of the other.
    """
    theirs, rows = _named(mapping, records["scan"])
    if theirs is None:
        raise RunError(
            f"the mapping names no scan of {name}: expected a column of scans such as {records['scan'].iloc[0]}; found "
            f"{', '.join(map(printable, mapping.columns))}"
        )
    predictions = pd.concat([run.predictions for run in learned])
    own, scans = _named(mapping.drop(columns=theirs), predictions["scan"])
    if own is None:
        return None
    used = predictions[predictions["split"] != "test"]
    seen = scans.isin(set(used["scan"]))
    names = DATASETS[learned[0].dataset].names if learned[0].dataset in DATASETS else None
    if names and "patient" in used:
        seen |= mapping[own].map(names.of).isin(set(used["patient"]))
    return records["scan"].isin(set(rows[seen].dropna())).to_numpy()


def _named(mapping: pd.DataFrame, scans: pd.Series) -> tuple[str | None, pd.Series | None]:
    """The column that names most of these scans, and the scan named by each of its rows, None if it names none."""
    known = {ends(scan)[0]: scan for scan in scans}
    found = mapping.map(lambda name: look_up(known, name))
    column = found.notna().sum().idxmax()
    return (column, found[column]) if found[column].notna().any() else (None, None)


def _seen(run: Run, records: pd.DataFrame) -> np.ndarray:
    """Which scans are of patients in the run's own train or val split: bool (scans,)."""
    if not {"patient"} <= set(records) & set(run.predictions):
        return np.zeros(len(records), dtype=bool)
    learnt = run.predictions.loc[run.predictions["split"] != "test", "patient"]
    return records["patient"].isin(set(learnt)).to_numpy()
