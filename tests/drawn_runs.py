"""Runs without a training: answers to test scans, drawn or given."""

import numpy as np
import pandas as pd

from lungkeras.scores import metrics
from lungkeras.study.runs import Run

CLASSES = {"covid": ("covid", "viral_pneumonia", "normal"), "xray8": ("atelectasis", "effusion", "no_finding")}
SCANS = 120


def run_of(name: str, skill: float = 1.0, seed: int = 0) -> Run:
    """A run on test scans that all runs of its dataset share; more skill, clearer probabilities."""
    dataset, backbone, weights = name.split("-")[:3]
    task, classes = "multilabel" if dataset == "xray8" else "multiclass", CLASSES[dataset]
    shared, own = np.random.default_rng(7), np.random.default_rng(seed)
    labels = np.eye(3, dtype=int)[shared.integers(3, size=SCANS)]
    if task == "multilabel":
        labels = (shared.random((SCANS, 3)) < 0.3).astype(int)
    given = metrics.probabilities(4 * skill * (labels - 0.5) + 2 * own.normal(size=labels.shape), task)
    scans = [f"{n}.png" for n in range(SCANS)]
    frame = pd.DataFrame({"split": "test", "scan": scans, "patient": np.arange(SCANS) // 2})
    for place, word in enumerate(classes):
        frame[f"label_{word}"], frame[f"probability_{word}"] = labels[:, place], given[:, place]
    params = {"dataset": dataset, "backbone": backbone, "weights": weights, "learning_rate": 0.01}
    return Run(name, params, pd.DataFrame(), frame, {"best_epoch": 3 + seed}, classes, task)


def runs_of(**skills: float) -> dict[str, Run]:
    names = {"resnet": "resnet34", "mobilenet": "mobilenet_v3_large", "efficientnet": "efficientnet_b1"}
    runs = [
        run_of(f"{dataset}-{names[word]}-random", skill, seed)
        for dataset in CLASSES
        for seed, (word, skill) in enumerate(skills.items())
    ]
    return {run.name: run for run in runs}


def findings_run(labels, given, classes=("mass", "nodule"), task="multilabel", **more) -> Run:
    """A run with these answers to its test split, which nothing corrects."""
    frame = pd.DataFrame({"split": "test", "scan": [f"{place}.png" for place in range(len(labels))]})
    frame["patient"] = frame["scan"]
    for column, name in enumerate(classes):
        frame[f"label_{name}"], frame[f"probability_{name}"] = np.array(labels)[:, column], np.array(given)[:, column]
    params = {"dataset": "xray8", "backbone": "resnet34", "weights": "random"}
    scores = {"temperature": 1.0, "temperatures": [1.0] * len(classes), "prior_shift": [0.0] * len(classes)}
    name = more.pop("name", "xray8-resnet34-random")
    history = more.pop("history", pd.DataFrame())
    return Run(name, params, history, frame, scores | more, tuple(classes), task)
