"""The folder of a run, read: what training leaves, and in which order a study lists it.

runs/<run>/params.yaml  environment.json  best.keras
          /history.csv           epoch, loss, macro_f1, val_loss, val_macro_f1, learning_rate, seconds
          /predictions.parquet   split, scan, patient, label_<class> (0 or 1; NaN where not known), probability_<class>
          /metrics.json          the scores of the test split, best_epoch, classes, task; written last
          /fingerprint.json      hashes of what the run was made from and of these files (made_from.py)
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.system.errors import RunError
from lungkeras.system.files import glance
from lungkeras.system.provenance import changed_files
from lungkeras.system.provenance import read as recorded_hashes
from lungkeras.system.untrusted import json_files, table_files
from lungkeras.system.untrusted import yaml_files as safe_yaml

DATASETS = ("pneumonia", "covid", "xray8")
BACKBONES = ("resnet34", "mobilenet_v3_large", "efficientnet_b1")
WEIGHTS = ("random", "transfer", "imagenet")
ABLATION = re.compile(r"-lr\d")
REPEAT = re.compile(r"-seed\d+$")
READ = {"params.yaml", "history.csv", "predictions.parquet", "metrics.json"}
CURVES = ["epoch", "loss", "macro_f1", "val_loss", "val_macro_f1"]


@dataclass(frozen=True)
class Run:
    """One trained model, as its folder describes it; `weights` is random, imagenet or transfer."""

    name: str
    params: dict
    history: pd.DataFrame
    predictions: pd.DataFrame
    metrics: dict
    classes: tuple[str, ...]
    task: str

    @property
    def dataset(self) -> str:
        return self.params["dataset"]

    @property
    def backbone(self) -> str:
        return self.params["backbone"]

    @property
    def weights(self) -> str:
        return weights_word(self.params["weights"])

    @property
    def best_epoch(self) -> float:
        """The epoch whose model was kept; NaN if the untrained model was kept."""
        return _number(self.metrics["best_epoch"])

    @property
    def diverged(self) -> float:
        """The epoch from which training diverged for good (lungkeras.scores.divergence); NaN if it did not."""
        return _number(self.metrics.get("diverged"))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def weights_word(weights: str) -> str:
    """The word for where a run starts: random, imagenet (also from a file of such weights), or transfer (a .keras)."""
    weights = str(weights)
    if weights in WEIGHTS:
        return weights
    return "transfer" if weights.endswith(".keras") else "imagenet"


def read_run(folder: Path | str) -> Run:
    """Reads the folder of a finished run. Raises RunError where it is missing, unfinished, broken or changed since.

    >>> run = lungkeras.read_run("reports/demo/runs/pneumonia-resnet34-random")
    >>> run.classes, len(run.history)
    (('bacterial_pneumonia', 'viral_pneumonia', 'normal'), 2)
    """
    folder = Path(folder)
    if not (folder / "metrics.json").is_file():
        raise RunError(
            f"{folder} is not a finished run: expected metrics.json, found {glance(folder)}. "
            "Train it: lungkeras train --params FILE"
        )
    recorded = recorded_hashes(folder / "fingerprint.json").get("results", {})
    for name in set(changed_files(folder, recorded)) & READ:
        params = "FILE" if name == "params.yaml" else shlex.quote(str(folder / "params.yaml"))
        raise RunError(
            f"{folder / name} is not as training left it: its SHA-256 differs from that in fingerprint.json. "
            f"Train it again: lungkeras train --params {params}"
        )
    try:
        scored = json_files.read(folder / "metrics.json")
        run = Run(
            name=folder.resolve().name,
            params=safe_yaml.read_yaml(folder / "params.yaml")[0] or {},
            history=table_files.read_csv(folder / "history.csv"),
            predictions=table_files.read_parquet(folder / "predictions.parquet"),
            metrics=scored,
            classes=tuple(scored["classes"]),
            task=scored["task"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder} can't be read ({type(error).__name__}: {error}). Train it again.") from error
    if missing := _missing(run):
        raise RunError(f"{folder} is incomplete: {missing}. Train it again.")
    return run


def _missing(run: Run) -> str | None:
    """The first file without a key or column that the tables need, in words; None if all are complete."""
    predictions = ["split", *(f"{kind}_{name}" for name in run.classes for kind in ("label", "probability"))]
    needed = {
        "params.yaml": (["dataset", "backbone", "weights", "learning_rate"], run.params),
        "history.csv": ([*CURVES, "seconds"], run.history),
        "predictions.parquet": (predictions, run.predictions),
        "metrics.json": (["best_epoch"], run.metrics),
    }
    lacks = ((file, word) for file, (words, present) in needed.items() for word in words if word not in present)
    return next((f"{file} has no {word}" for file, word in lacks), None)


def read_runs(folder: Path | str) -> dict[str, Run]:
    """The finished runs of a folder, {name: run}, in the order of the paper's Table 3, the ablation last.

    A run without metrics.json is still at work and left out. Raises RunError where none is finished.

    >>> list(lungkeras.read_runs("reports/demo/runs"))
    ['pneumonia-resnet34-random']
    """
    folder = Path(folder)
    runs = [read_run(path.parent) for path in folder.glob("*/metrics.json")]
    if not runs:
        raise RunError(f"No finished run in {folder}: expected <run>/metrics.json, found {glance(folder)}.")
    return {run.name: run for run in sorted(runs, key=_place)}


def _place(run: Run) -> tuple:
    orders = ((DATASETS, run.dataset), (BACKBONES, run.backbone), (WEIGHTS, run.weights))
    places = [known.index(word) if word in known else len(known) for known, word in orders]
    dataset, backbone, weights = places
    rate = run.params["learning_rate"]
    return (bool(ABLATION.search(run.name)), dataset, run.dataset, backbone, run.backbone, weights, rate, run.name)


def main_runs(runs: Mapping[str, Run]) -> dict[str, Run]:
    """The runs without the learning-rate ablation and without repeats with another seed."""
    return {name: run for name, run in runs.items() if not ABLATION.search(name) and not REPEAT.search(name)}


def ablation_runs(runs: Mapping[str, Run]) -> dict[str, Run]:
    """The runs of the learning-rate ablation, whose names end in -lr<rate>, by their initial learning rate."""
    return {name: run for name, run in runs.items() if ABLATION.search(name) and not REPEAT.search(name)}


def repeated_as(name: str) -> str:
    """The name of the run that a run repeats with another seed; its own name if it repeats none."""
    return REPEAT.sub("", name)


def split_of(run: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    """(labels, probabilities) of a split: int and float32, both (scans, classes), in the order of the predictions.

    If some labels are unknown, labels are float64, and unknown ones NaN. Raises RunError if the run has no predictions
    for this split.
    """
    rows = _rows(run, split)
    labels = rows[[f"label_{name}" for name in run.classes]].to_numpy(float)
    labels = labels if np.isnan(labels).any() else labels.astype(int)
    return labels, rows[[f"probability_{name}" for name in run.classes]].to_numpy(np.float32)


def patients_of(run: Run, split: str) -> np.ndarray:
    """The patient of each scan of a split, str (scans,), in the order of the predictions.

    If the predictions name no patients, each scan counts as a patient. Raises RunError as `split_of` does.
    """
    rows = _rows(run, split)
    return rows["patient"].to_numpy(str) if "patient" in rows else rows.index.to_numpy().astype(str)


def _rows(run: Run, split: str) -> pd.DataFrame:
    rows = run.predictions[run.predictions["split"] == split]
    if rows.empty:
        raise RunError(
            f"{run.name}: no predictions of the split {split}; it has {list(run.predictions['split'].unique())}."
        )
    return rows
