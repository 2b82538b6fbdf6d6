"""The results of a trained model: the predictions of every split and their scores, as files of the run."""

import keras
import numpy as np
import pandas as pd

from lungkeras.preparation.folder import Prepared
from lungkeras.scores import metrics
from lungkeras.scores.divergence import best_epoch, diverged_at
from lungkeras.scores.temperature import fit_correction, no_correction
from lungkeras.splits import SPLITS
from lungkeras.study.params import Params
from lungkeras.system.files import write_json, write_parquet
from lungkeras.training.losses import class_weights
from lungkeras.training.outputs import predict_logits


def write_results(model: keras.Model, params: Params, prepared: Prepared, history: pd.DataFrame) -> None:
    """Predicts every split with the best model and writes predictions.parquet, then metrics.json.

    Predictions hold the model's own probabilities, which determine its decisions; `prior_shift` and `temperatures` in
    metrics.json calibrate them (lungkeras.scores.temperature).
    """
    frames, scores, correction = [], {}, no_correction(len(prepared.classes))
    for split in SPLITS:
        labels = prepared.labels(split)
        logits = predict_logits(model, prepared.images[split], params.batch_size)
        probabilities = metrics.probabilities(logits, prepared.task)
        if split == "val":
            weights = class_weights(prepared, params)
            correction = fit_correction(labels, probabilities, prepared.task, weights)
        records = prepared.split(split)
        frame = pd.DataFrame({"split": split, "scan": records["scan"], "patient": records["patient"]})
        for column, name in enumerate(prepared.classes):
            frame[f"label_{name}"] = integers(labels[:, column])
            frame[f"probability_{name}"] = probabilities[:, column]
        frames.append(frame)
        scores[split] = {
            **metrics.scores(labels, probabilities, prepared.classes, prepared.task),
            "loss": metrics.cross_entropy(labels, logits, prepared.task, class_weights(prepared, params)),
            "scans": len(labels),
        }
    write_parquet(params.run_folder / "predictions.parquet", pd.concat(frames, ignore_index=True))
    labels = prepared.labels("train")
    chance = metrics.cross_entropy(labels, np.zeros_like(labels), prepared.task, class_weights(prepared, params))
    timed = history["seconds"].iloc[1:] if len(history) > 1 else history["seconds"]
    write_json(
        params.run_folder / "metrics.json",
        {
            "run": params.run,
            "dataset": params.dataset,
            "task": prepared.task,
            "classes": list(prepared.classes),
            "backbone": params.backbone,
            "weights": params.weights_word,
            "best_epoch": best_epoch(history),
            "diverged": diverged_at(history, chance),
            "epochs": len(history),
            "seconds_per_epoch": float(timed.median()),
            **correction.as_dict(),
            **scores,
        },
    )


def integers(labels: np.ndarray) -> np.ndarray:
    """Labels as int if all are known, else unchanged."""
    return labels if np.isnan(labels).any() else labels.astype(int)
