"""What can be shown of each scan of a run: its prediction, its heat map, its preparation and its nearest neighbours."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.evaluation.calibration import calibrated
from lungkeras.explanation import gallery, other_methods
from lungkeras.explanation.embedding import features
from lungkeras.explanation.gradcam import METHODS, heat_maps, overlay
from lungkeras.explanation.neighbours import nearest
from lungkeras.preparation.folder import Prepared
from lungkeras.report.display import Picture, Shown, Table, scan_picture
from lungkeras.report.figures.explanations import method_title
from lungkeras.report.shown import names_of
from lungkeras.scores import metrics
from lungkeras.study.runs import Run, split_of
from lungkeras.study.words import decimal
from lungkeras.system.errors import ParamsError, RunError
from lungkeras.system.text import printable

NEIGHBOURS = 6
NEIGHBOUR_EDGE = 110  # pixels
NEIGHBOURS_AMONG = 2000  # training scans, evenly spaced: the model predicts each of them


def answered(run: Run, split: str) -> pd.DataFrame:
    """The prediction of a run for each scan of a split, in the order of its predictions.

    Columns: scan, true and predicted (tuples of classes), confidence (calibrated, of the predicted class; with
    findings, of the most confident wrong answer, else of the least confident answer), wrong (bool, by the known
    labels).
    """
    labels, raw = split_of(run, split)
    given, decided = calibrated(run, split).astype(np.float64), metrics.decide(raw, run.task)
    failed = (labels != decided) & ~np.isnan(labels)
    if run.task == "multiclass":
        confidence = (given * decided).sum(axis=1)
    else:
        each = np.where(decided == 1, given, 1 - given)
        confidence = np.where(failed.any(axis=1), np.where(failed, each, 0).max(axis=1), each.min(axis=1))
    rows = run.predictions[run.predictions["split"] == split]
    return pd.DataFrame(
        {
            "scan": rows["scan"].to_numpy() if "scan" in rows else rows.index.astype(str),
            "true": [_named(row, run.classes) for row in labels],
            "predicted": [_named(row, run.classes) for row in decided],
            "confidence": confidence,
            "wrong": failed.any(axis=1),
        }
    )


def _named(row: np.ndarray, classes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name, label in zip(classes, row, strict=True) if label == 1)


@dataclass
class Exploration:
    """A run with its model and its prepared dataset, and what can be shown of each scan."""

    run: Run
    model: object
    prepared: Prepared
    known: dict = field(default_factory=dict, repr=False)

    def answers(self, split: str) -> pd.DataFrame:
        """`answered`, computed once per split. Raises RunError if the prepared scans are not the predicted ones."""
        if split not in self.known:
            found = answered(self.run, split)
            if found["scan"].tolist() != self.prepared.split(split)["scan"].tolist():
                raise RunError(
                    f"{self.run.name}: its predictions of the split {split} are of other scans than the prepared "
                    f"dataset holds. Name the one that it was trained on: explore(run, prepared=...)"
                )
            self.known[split] = found
        return self.known[split]

    def places(
        self,
        split: str = "test",
        *,
        true: str | None = None,
        predicted: str | None = None,
        wrong: bool | None = None,
        text: str = "",
    ) -> list[int]:
        """The places of the scans of a split that have a class, were given a class, are errors, or whose name holds
        a text; None means any. Errors come most confident first, right answers least confident first."""
        found = self.answers(split)
        kept = found["scan"].astype(str).str.contains(text, case=False, regex=False)
        for column, name in (("true", true), ("predicted", predicted)):
            if name is not None:
                kept &= found[column].map(lambda names, name=name: name in names).astype(bool)
        if wrong is not None:
            found = found.sort_values("confidence", ascending=not wrong, kind="stable")
            kept &= found["wrong"] == wrong
        return found.index[kept.reindex(found.index)].tolist()

    @functools.cached_property
    def neighbourhood(self) -> tuple[np.ndarray, np.ndarray]:
        """(places of training scans, their features): NEIGHBOURS_AMONG at most, evenly spaced."""
        images = self.prepared.images["train"]
        count = min(len(images), NEIGHBOURS_AMONG)
        places = np.unique(np.linspace(0, len(images) - 1, count).round().astype(int))
        return places, features(self.model, np.asarray(images[places]))

    def neighbours(self, split: str, place: int, count: int = NEIGHBOURS) -> list[tuple[int, float]]:
        """(place in the training split, cosine of the features) of the nearest, the scan itself left out."""
        places, among = self.neighbourhood
        own = features(self.model, np.asarray(self.prepared.images[split][place : place + 1]))
        found, cosines = nearest(own, among, count + 1)
        pairs = [(int(places[at]), float(cosine)) for at, cosine in zip(found[0], cosines[0], strict=True)]
        return [pair for pair in pairs if split != "train" or pair[0] != place][:count]

    def look(
        self,
        split: str,
        place: int,
        method: str = "grad_cam",
        layer: str | None = None,
        explained: str | None = None,
    ) -> Shown:
        """A scan step by step through preparation, its heat map, its probabilities and its neighbours.

        `explained` is a class, None the likeliest. Raises ParamsError for a method, layer or class that is not known.
        """
        _check("method", method, methods())
        _check("explained", explained, (None, *self.run.classes))
        row = self.answers(split).loc[place]
        raw = split_of(self.run, split)[1][place]
        scaled = calibrated(self.run, split)[place]
        column = self.run.classes.index(explained) if explained else int(np.nan_to_num(scaled).argmax())
        pictures = self._pictures(split, place, column, method, layer)
        labels = split_of(self.run, split)[0][place]
        rows = [
            [title(name), _label(label), decimal(calibrated_one, 3), decimal(given, 3)]
            for name, label, calibrated_one, given in zip(self.run.classes, labels, scaled, raw, strict=True)
        ]
        true, predicted = (", ".join(map(title, row[key])) or "none" for key in ("true", "predicted"))
        lines = (
            f"true: {true}; answered: {predicted}; {'wrong' if row['wrong'] else 'right'}",
            f"the small pictures: the nearest of {len(self.neighbourhood[0]):,} training scans in the features "
            "of the model, with their labels and the cosine",
        )
        table = Table("Probabilities", ("class", "label", "calibrated", "as the model gives it"), rows)
        return Shown(printable(row["scan"]), lines, pictures, [table], self._neighbour_pictures(split, place))

    def _pictures(self, split: str, place: int, column: int, method: str, layer: str | None) -> list[Picture]:
        """A scan after each step of preparation, then under its heat map for the class of that column."""
        scan = np.asarray(self.prepared.images[split][place])
        maps = heat_maps if method in METHODS else other_methods.other_heat_maps
        heat = maps(self.model, scan[None], column, (method,), layer=layer)[method][0]
        pictures = [
            scan_picture(image, f"The scan, {step}", f"{step}, {image.shape[1]} × {image.shape[0]}")
            for step, image in gallery.steps(self.prepared, split, place).items()
        ]
        about = f"{full_title(method)}: {title(self.run.classes[column])}"
        return [*pictures, scan_picture(overlay(scan, heat), f"{about}, over the scan", about + _empty(heat))]

    def _neighbour_pictures(self, split: str, place: int) -> list[Picture]:
        train, pictures = self.prepared.split("train"), []
        for at, cosine in self.neighbours(split, place):
            label = names_of(train.loc[at, list(self.prepared.classes)].tolist(), self.prepared.classes)
            caption = f"{label} ({decimal(cosine, 3)})"
            near = np.asarray(self.prepared.images["train"][at])
            pictures.append(scan_picture(near, f"Neighbour: {caption}", caption, NEIGHBOUR_EDGE))
        return pictures


def methods() -> tuple[str, ...]:
    """The methods of heat maps: ours, and those of tf-keras-vis if it is installed."""
    return (*METHODS, *(other_methods.METHODS if other_methods.available() else ()))


def full_title(method: str) -> str:
    """The title of a method of either kind."""
    return other_methods.METHODS.get(method) or method_title(method)


def _check(name: str, value: str | None, allowed: Sequence[str | None]) -> None:
    if value not in allowed:
        raise ParamsError(
            f"{name}: expected one of {', '.join(filter(None, allowed))}, received {value!r}; choose one of these"
        )


def _empty(heat: np.ndarray) -> str:
    return "" if heat.max() > 0 else " (empty map)"


def _label(label: float) -> str:
    return "not known" if np.isnan(label) else "yes" if label == 1 else "no"
