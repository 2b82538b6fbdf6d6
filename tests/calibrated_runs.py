"""Predictions whose calibration is known, for tests alone."""

import numpy as np
import pandas as pd

from lungkeras.scores import metrics
from lungkeras.study.runs import Run

CLASSES = {"multiclass": ("covid", "viral_pneumonia", "normal"), "multilabel": ("effusion", "mass", "no_finding")}
TASKS = tuple(CLASSES)


def calibrated_logits(task: str, scans: int, seed: int = 0):
    """(labels, logits): labels drawn from the very probabilities that the logits give."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(scans, 3))
    given = metrics.probabilities(logits, task).astype(float)
    if task == "multilabel":
        return (random.random(given.shape) < given).astype(int), logits
    drawn = (random.random((scans, 1)) > given.cumsum(axis=1)).sum(axis=1).clip(max=2)
    return np.eye(3, dtype=int)[drawn], logits


def run_of(task: str, scale: float = 3.0, scans: int = 600) -> Run:
    """A run whose logits are `scale` times too large."""
    frames = []
    for seed, split in enumerate(("train", "val", "test")):
        labels, logits = calibrated_logits(task, scans, seed)
        given = metrics.probabilities(scale * logits, task)
        frame = pd.DataFrame({"split": split, "scan": range(scans), "patient": np.arange(scans) // 2})
        for place, name in enumerate(CLASSES[task]):
            frame[f"label_{name}"], frame[f"probability_{name}"] = labels[:, place], given[:, place]
        frames.append(frame)
    dataset = "xray8" if task == "multilabel" else "covid"
    params = {"dataset": dataset, "backbone": "resnet34", "weights": "random", "learning_rate": 0.01}
    return Run(f"{dataset}-resnet34-random", params, pd.DataFrame(), pd.concat(frames), {}, CLASSES[task], task)
