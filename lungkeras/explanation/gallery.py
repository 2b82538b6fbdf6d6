"""The scans that figures show, and the models' answers on them: prepared dataset and models -> data of figures."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.scans.workers import decode_alone
from lungkeras.explanation.embedding import embed, features
from lungkeras.explanation.gradcam import grad_cam
from lungkeras.preparation.folder import Prepared
from lungkeras.preparation.scan import preparation_steps
from lungkeras.scores.intervals import mean_of_defined
from lungkeras.study.runs import Run, split_of
from lungkeras.system import places
from lungkeras.system.errors import ScanError


def examples(prepared: Prepared) -> dict[str, np.ndarray]:
    """{class: uint8 (H, W)}: a training scan of each class, as in its source.

    It takes the first unused scan of that class alone, else one with few other classes. If the source is gone, the
    prepared scan is used.
    """
    train = prepared.split("train")
    shared = train[list(prepared.classes)].eq(1).sum(axis=1)
    chosen, shown = {}, set()
    for name in prepared.classes:
        holders = train.index[train[name] == 1]
        if len(holders):
            place = min(holders, key=lambda place: (place in shown, shared[place], place))
            shown.add(place)
            chosen[name] = original(prepared, "train", place)
    return chosen


def _place(prepared: Prepared, path: str) -> Path:
    """The path of a scan. Raises ScanError if its source is missing, or the path leads out of it."""
    source = places.find(prepared.source)
    if source is None or Path(path).is_absolute() or ".." in Path(path).parts:
        raise ScanError(f"{path} is not available")
    return source / path


def original(prepared: Prepared, split: str, place: int) -> np.ndarray:
    """uint8 (H, W): a scan as in its source; if the source is gone, the prepared scan."""
    return next(iter(steps(prepared, split, place).values()))


def steps(prepared: Prepared, split: str = "train", place: int = 0) -> dict[str, np.ndarray]:
    """{step: uint8 (H, W)}: a scan on its way through preparation, by default the first training scan.

    If the source is gone, there is only the last step.
    """
    try:
        path = prepared.split(split)["path"][place]
        return preparation_steps(_place(prepared, path), prepared.size, decode_alone)
    except (KeyError, ScanError):
        return {"resized": np.asarray(prepared.images[split][place])}


def features_of(models: Mapping[str, object], runs: Iterable[str], prepared: Prepared) -> dict[str, np.ndarray]:
    """{run: features of the test split, float (N, F)} of these runs of a dataset; `models` by the run's name."""
    return {name: features(models[name], prepared.images["test"]) for name in runs}


def embeddings(vectors: Mapping[str, np.ndarray], prepared: Prepared, *, seed: int = 0) -> pd.DataFrame:
    """t-SNE of the test split's features (`explanation.features`) of each run: run, x, y, label (the true class).

    One row per run and scan.
    """
    labels = np.array(prepared.classes)[(prepared.labels("test") == 1).argmax(axis=1)]
    parts = []
    for run, found in vectors.items():
        x, y = embed(found, seed=seed).T
        parts.append(pd.DataFrame({"run": run, "x": x, "y": y, "label": labels}))
    return pd.concat(parts, ignore_index=True)


def explanations(
    models: Mapping[str, object], runs: Mapping[str, Run], prepared: Prepared
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]], dict[str, dict[str, float]]]:
    """Grad-CAM of each model on one test scan per class: the one with the highest mean probability of its true class.

    Returns {class: scan uint8 (H, W)}, {run: {class: map (H, W) in [0, 1]}}, {run: {class: probability}}.
    """
    labels = prepared.labels("test") == 1
    given = {name: split_of(run, "test")[1] for name, run in runs.items()}
    mean = mean_of_defined(np.stack(list(given.values()), axis=-1))
    certainty = np.where(labels, np.nan_to_num(mean), -1.0)
    places = {
        name: int(certainty[:, column].argmax())
        for column, name in enumerate(prepared.classes)
        if labels[:, column].any()
    }
    columns = [prepared.classes.index(name) for name in places]
    scans = prepared.images["test"][list(places.values())]
    maps = {run: dict(zip(places, grad_cam(model, scans, columns), strict=True)) for run, model in models.items()}
    probabilities = {
        run: {
            name: float(given[run][place, column])
            for (name, place), column in zip(places.items(), columns, strict=True)
        }
        for run in models
    }
    return dict(zip(places, scans, strict=True)), maps, probabilities
