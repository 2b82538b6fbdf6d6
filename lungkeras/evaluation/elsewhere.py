"""One run on another prepared dataset: its scores there, on scans that it has not seen, or why it has no scores.

unseen.py decides which scans it has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets import findings, policies
from lungkeras.evaluation.run_tables import resized
from lungkeras.evaluation.shared_scans import Collection, open_collections
from lungkeras.evaluation.unseen import Known, unseen_scans, with_origins
from lungkeras.preparation.folder import Prepared, load_prepared
from lungkeras.scores import metrics
from lungkeras.study.runs import Run, read_run
from lungkeras.system.errors import RunError
from lungkeras.system.places import from_project
from lungkeras.training.outputs import outputs


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

    @property
    def known(self) -> Known:
        return Known(self.collections, self.mapping)


def _evaluate(folder: Path | str, each: Sequence[Prepared], options: Options) -> list[dict]:
    """`evaluate_on` for one prepared dataset under several policies; the model predicts once."""
    from lungkeras import models

    run, prepared = read_run(folder), each[0]
    classes = shared_classes(run, prepared, loose=options.loose)
    unseen = unseen_scans(folder, run, prepared, options.split, options.known)
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
    about["kinship"] = "; ".join(dict.fromkeys(unseen.notes))
    unknown, found = policies.unknown_labels(prepared.split(options.split), prepared.classes), []
    for one, own, chosen in zip(each, labels, kept, strict=True):
        policy = {"policy": policies.policy_text(one.uncertain, one.blank)} if unknown else {}
        unusable = int((unseen.kept & ~chosen).sum())
        counted = {"left_out_as": unseen.counts | ({reason: unusable} if unusable else {})}
        counted |= {"scans": int(chosen.sum()), "left_out": int((~chosen).sum())}
        scored = metrics.scores(own[chosen][:, mine], probabilities[chosen[rows]], tuple(classes), run.task)
        found.append(about | policy | counted | scored)
    return found


def shared_classes(run: Run, prepared: Prepared, *, loose: bool = False) -> dict[str, str]:
    """{class of the run: class of the dataset that means the same}, in the run's order; RunError for fewer than two."""
    if run.task != prepared.task:
        raise RunError(
            f"{run.name} is {run.task} and {prepared.name} is {prepared.task}: their classes do not correspond. "
            f"Give a prepared dataset that is {run.task}."
        )
    classes = findings.shared_classes(run.dataset, run.classes, prepared.name, prepared.classes, loose=loose)
    if len(classes) < 2:
        raise RunError(
            f"{run.name} and {prepared.name} share {', '.join(classes) or 'no class'}; two classes are needed. "
            f"The run knows {', '.join(run.classes)}; the dataset {', '.join(prepared.classes)}."
        )
    return classes


def open_for(folder: Path | str, on: Path | str) -> dict[str, Collection]:
    """The collections, with their fingerprints, of a prepared folder and of a run's training data.

    Those of the run's params that are not prepared on this machine, or without fingerprints, are left out.
    """
    run = read_run(folder)
    places = {
        learned.dataset: from_project(str(learned.params.get("prepared", ""))) / learned.dataset
        for learned in with_origins(folder, run) or [run]
    }
    other = load_prepared(on)
    places = {name: place for name, place in places.items() if (place / "fingerprints.npz").is_file()}
    if not set(places) - {other.name} or not (Path(on) / "fingerprints.npz").is_file():
        return {}
    places[other.name] = Path(on)
    opened = {name: other if name == other.name else load_prepared(place) for name, place in places.items()}
    return open_collections(opened, places)
