"""A run explored in Jupyter: a widget that lists its scans and shows what the model makes of each.

`explored_scans` knows what to show; `Explorer` puts controls above it.
"""

import functools
from pathlib import Path

from lungkeras.datasets.registry import title
from lungkeras.explanation.gradcam import cuts, explained_layer
from lungkeras.preparation.folder import Prepared, load_prepared
from lungkeras.report.display import Shown
from lungkeras.report.explored_scans import Exploration, full_title, methods
from lungkeras.splits import SPLITS
from lungkeras.study.runs import Run, read_run
from lungkeras.study.words import heading, run_name_title
from lungkeras.system.errors import RunError
from lungkeras.system.places import from_project
from lungkeras.system.text import printable

LISTED = 500  # scans that a list offers at once
ANY, ANSWERED = "any class", "the likeliest class"
WHICH = {"all scans": None, "errors, most confident first": True, "right answers, least confident first": False}


class Explorer:
    """The widget: `controls` by name, `page` with what is shown, `shown` as plain values; a cell shows it whole."""

    def __init__(self, exploration: Exploration):
        import ipywidgets

        self.exploration, run = exploration, exploration.run
        self.controls = c = _controls(exploration)
        self.found, self.page, self.shown = ipywidgets.Label(), ipywidgets.HTML(), None
        wrapping = functools.partial(ipywidgets.HBox, layout=ipywidgets.Layout(flex_flow="row wrap"))
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
            self.shown = Shown("No scan matches.")
        else:
            self.shown = self.exploration.look(
                *c["scan"].value, c["method"].value, c["layer"].value, c["explained"].value or None
            )
        self.page.value = self.shown.html

    def _repr_mimebundle_(self, **options):
        return self.widget._repr_mimebundle_(**options)


def _controls(exploration: Exploration) -> dict:
    """The controls by name: which scans are listed, and how the chosen one is shown."""
    import ipywidgets

    run = exploration.run
    classes = {title(name): name for name in run.classes}
    splits = [split for split in SPLITS if split in set(run.predictions["split"])]
    layers = [layer.name for layer in cuts(exploration.model)][::-1]
    look = {"style": {"description_width": "initial"}}
    look["layout"] = ipywidgets.Layout(width="auto", flex="1 1 14em", max_width="24em")
    dropdown = functools.partial(ipywidgets.Dropdown, **look)
    return {
        "split": dropdown(description="split", options=splits, value="test" if "test" in splits else splits[-1]),
        "true": dropdown(description="has", options={ANY: ""} | classes),
        "predicted": dropdown(description="answered", options={ANY: ""} | classes),
        "which": dropdown(description="show", options=list(WHICH)),
        "file": ipywidgets.Text(description="file", placeholder="part of its name", continuous_update=False, **look),
        "scan": ipywidgets.Select(description="scan", options=[], rows=6, **look),
        "method": dropdown(description="heat map", options={full_title(name): name for name in methods()}),
        "layer": dropdown(description="of the layer", options=layers, value=explained_layer(exploration.model).name),
        "explained": dropdown(description="for", options={ANSWERED: ""} | classes),
    }


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
