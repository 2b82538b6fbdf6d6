"""A run explored in Jupyter: pick a scan, and see what was made of it and why the model answers so.

`answered` and `Exploration` know what is shown; `Explorer` puts controls above it.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.evaluation.calibration import calibrated
from lungkeras.explanation import gallery, other_methods
from lungkeras.explanation.gradcam import METHODS, cuts, explained_layer, features, heat_maps, overlay
from lungkeras.explanation.neighbours import nearest
from lungkeras.preparation.folder import Prepared, load_prepared
from lungkeras.report.figures.explanations import method_title
from lungkeras.report.shown import Shown, Table, names_of, scan_picture
from lungkeras.scores import metrics
from lungkeras.splits import SPLITS
from lungkeras.study.runs import Run, read_run, split_of
from lungkeras.study.words import decimal, heading, run_name_title
from lungkeras.system.errors import ParamsError, RunError
from lungkeras.system.places import from_project
from lungkeras.system.text import printable

NEIGHBOURS = 6
NEIGHBOUR_EDGE = 110  # pixels
NEIGHBOURS_AMONG = 2000  # training scans, evenly spaced: a model has to look at each of them
LISTED = 500  # scans that a list offers at once
ANY, ANSWERED = "any class", "the likeliest class"
WHICH = {"all scans": None, "errors, most confident first": True, "right answers, least confident first": False}


def answered(run: Run, split: str) -> pd.DataFrame:
    """What a run answers to each scan of a split, in the order of its predictions.

    Columns: scan, true and predicted (tuples of classes), confidence (calibrated, of the answer; of findings
    that of the most confident wrong answer, else the least confident), wrong (bool, by the labels that are known).
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
    """A run with its model and its prepared dataset, and what is to be seen of each scan."""

    run: Run
    model: object
    prepared: Prepared
    known: dict = field(default_factory=dict, repr=False)

    def answers(self, split: str) -> pd.DataFrame:
        """`answered`, once a split. Raises RunError where the prepared scans are not those that were predicted."""
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
        a text; None asks for nothing. Errors come most confident first, right answers least confident first."""
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
        if method not in methods():
            raise ParamsError(
                f"method: expected one of {', '.join(methods())}, received {method!r}; choose one of these"
            )
        if explained is not None and explained not in self.run.classes:
            raise ParamsError(
                f"explained: expected one of {', '.join(self.run.classes)}, received {explained!r}; choose one of these"
            )
        row = self.answers(split).loc[place]
        raw = split_of(self.run, split)[1][place]
        scaled = calibrated(self.run, split)[place]
        column = self.run.classes.index(explained) if explained else int(np.nan_to_num(scaled).argmax())
        scan = np.asarray(self.prepared.images[split][place])
        maps = heat_maps if method in METHODS else other_methods.other_heat_maps
        heat = maps(self.model, scan[None], column, (method,), layer=layer)[method][0]
        pictures = [
            scan_picture(image, f"The scan, {step}", f"{step}, {image.shape[1]} × {image.shape[0]}")
            for step, image in gallery.steps(self.prepared, split, place).items()
        ]
        about = f"{_method_title(method)}: {title(self.run.classes[column])}"
        pictures.append(scan_picture(overlay(scan, heat), f"{about}, over the scan", about + _empty(heat)))
        train, small = self.prepared.split("train"), []
        for at, cosine in self.neighbours(split, place):
            label = names_of(train.loc[at, list(self.prepared.classes)].tolist(), self.prepared.classes)
            told = f"{label} ({decimal(cosine, 3)})"
            near = np.asarray(self.prepared.images["train"][at])
            small.append(scan_picture(near, f"Neighbour: {told}", told, NEIGHBOUR_EDGE))
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
        return Shown(printable(row["scan"]), lines, pictures, [table], small)


def methods() -> tuple[str, ...]:
    """The methods of heat maps: ours, and those of tf-keras-vis where it is installed."""
    return (*METHODS, *(other_methods.METHODS if other_methods.available() else ()))


def _method_title(method: str) -> str:
    return other_methods.METHODS.get(method) or method_title(method)


def _empty(heat: np.ndarray) -> str:
    return "" if heat.max() > 0 else " (empty map)"


def _label(label: float) -> str:
    return "not known" if np.isnan(label) else "yes" if label == 1 else "no"


class Explorer:
    """The widget: `controls` by name, `page` with what is shown, `shown` as plain values; a cell shows it whole."""

    def __init__(self, exploration: Exploration):
        import ipywidgets

        self.exploration, run = exploration, exploration.run
        classes = {title(name): name for name in run.classes}
        splits = [split for split in SPLITS if split in set(run.predictions["split"])]
        layers = [layer.name for layer in cuts(exploration.model)][::-1]
        look = {"style": {"description_width": "initial"}}
        look["layout"] = ipywidgets.Layout(width="auto", flex="1 1 14em", max_width="24em")
        dropdown = functools.partial(ipywidgets.Dropdown, **look)
        wrapping = functools.partial(ipywidgets.HBox, layout=ipywidgets.Layout(flex_flow="row wrap"))
        self.controls = {
            "split": dropdown(description="split", options=splits, value="test" if "test" in splits else splits[-1]),
            "true": dropdown(description="has", options={ANY: ""} | classes),
            "predicted": dropdown(description="answered", options={ANY: ""} | classes),
            "which": dropdown(description="show", options=list(WHICH)),
            "file": ipywidgets.Text(
                description="file", placeholder="part of its name", continuous_update=False, **look
            ),
            "scan": ipywidgets.Select(description="scan", options=[], rows=6, **look),
            "method": dropdown(description="heat map", options={_method_title(name): name for name in methods()}),
            "layer": dropdown(
                description="of the layer", options=layers, value=explained_layer(exploration.model).name
            ),
            "explained": dropdown(description="for", options={ANSWERED: ""} | classes),
        }
        self.found, self.page, self.shown = ipywidgets.Label(), ipywidgets.HTML(), None
        c = self.controls
        self.widget = ipywidgets.VBox(
            [
                ipywidgets.Label(printable(f"{heading(run.dataset)}: {run_name_title(run.name)}")),
                wrapping([c["split"], c["true"], c["predicted"]]),
                wrapping([c["which"], c["file"], self.found]),
                wrapping([c["scan"]]),
                wrapping([c["method"], c["layer"], c["explained"]]),
                self.page,
            ]
        )
        for name in ("split", "true", "predicted", "which", "file"):
            c[name].observe(self._choose, "value")
        for name in ("scan", "method", "layer", "explained"):
            c[name].observe(self._draw, "value")
        self._choose()

    def _choose(self, change=None) -> None:
        """Lists the scans that the controls ask for; the first of them is drawn."""
        c = self.controls
        split = c["split"].value
        found = self.exploration.places(
            split,
            true=c["true"].value or None,
            predicted=c["predicted"].value or None,
            wrong=WHICH[c["which"].value],
            text=c["file"].value,
        )
        scans = self.exploration.answers(split)["scan"]
        more = f", the first {LISTED} listed" if len(found) > LISTED else ""
        self.found.value = f"{len(found):,} of {len(scans):,} scans{more}"
        before = c["scan"].value
        c["scan"].unobserve(self._draw, "value")  # one drawing, not one for each step of the change
        c["scan"].options = [(printable(scans[place]), (split, place)) for place in found[:LISTED]]
        c["scan"].value = c["scan"].options[0][1] if found else None
        c["scan"].observe(self._draw, "value")
        if change is None or c["scan"].value != before:
            self._draw()

    def _draw(self, change=None) -> None:
        c = self.controls
        if c["scan"].value is None:
            self.shown = Shown("No scan is as asked for.")
        else:
            self.shown = self.exploration.look(
                *c["scan"].value, c["method"].value, c["layer"].value, c["explained"].value or None
            )
        self.page.value = self.shown.html

    def _repr_mimebundle_(self, **options):
        return self.widget._repr_mimebundle_(**options)


def explore(run: Run | Path | str, *, model=None, prepared: Prepared | Path | str | None = None) -> Explorer:
    """A widget for Jupyter: pick a scan by class, by error or by file, and see what the model makes of it.

    It shows preparation step by step, heat maps by any method of any layer, calibrated probabilities, and the training
    scans that are nearest in the model's last features.

    Args:
        run: a run, or its folder.
        model: its keras.Model, by default best.keras of its folder.
        prepared: the prepared dataset that it was trained on, or its folder; by default the one that its params name.

    Raises RunError where one of them is missing, or ipywidgets is not installed.
    """
    try:
        import ipywidgets  # noqa: F401
    except ImportError as error:
        raise RunError("explore needs ipywidgets; install it with pip install 'lungkeras[jupyter]'.") from error
    folder = None
    if not isinstance(run, Run):
        folder = Path(run)
        run = read_run(folder)
    if model is None:
        from lungkeras.models import load_model
        from lungkeras.system.backends import use_backend

        use_backend()
        model = load_model((folder or from_project(run.params["runs"]) / run.name) / "best.keras")
    if not isinstance(prepared, Prepared):
        where = Path(prepared) if prepared else from_project(run.params["prepared"]) / run.dataset
        policies = {key: run.params[key] for key in ("uncertain", "blank") if key in run.params}
        prepared = load_prepared(where, **policies)
    return Explorer(Exploration(run, model, prepared))
