"""The most confident errors of a run, scan by scan."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lungkeras.datasets.registry import title
from lungkeras.evaluation.failures import best_on_validation, confident_errors
from lungkeras.preparation.folder import Prepared
from lungkeras.report.figures import panels
from lungkeras.report.figures.files import save_figure
from lungkeras.report.figures.style import styled
from lungkeras.study.runs import Run
from lungkeras.study.words import decimal, heading, run_name_title, wrapped

IN_LINE = {"multiclass": 6, "multilabel": 12}  # panels of a gallery: the texts of the latter are shorter


def write_galleries(runs: Mapping[str, Run], datasets: Mapping[str, Prepared], folder: Path | str) -> dict[str, Figure]:
    """Saves figures/failures_<dataset> of each dataset's best run on validation; returns the figures by dataset.

    A dataset without such an error has none, and an earlier one is removed.
    """
    figures = {}
    for dataset, name in best_on_validation(runs).items():
        errors = confident_errors({name: runs[name]})
        shown = scans_of(errors, datasets[dataset])
        file = f"failures_{dataset}"
        if shown:
            figures[dataset] = gallery(shown, runs[name])
            save_figure(figures[dataset], Path(folder) / "figures", file, data=errors)
        else:
            for kind in ("png", "svg", "csv"):
                (Path(folder) / "figures" / f"{file}.{kind}").unlink(missing_ok=True)
    return figures


def scans_of(errors: pd.DataFrame, prepared: Prepared) -> dict[str, list[tuple[np.ndarray, str]]]:
    """{class: [(test scan uint8 (H, W), words under it)]} of one run's `confident_errors`, in their order."""
    places = {scan: place for place, scan in enumerate(prepared.split("test")["scan"])}
    shown: dict[str, list] = {}
    for row in errors.to_dict("records"):
        if row["scan"] in places:
            image = np.asarray(prepared.images["test"][places[row["scan"]]])
            shown.setdefault(row["class"], []).append((image, _words(row, prepared.task)))
    return shown


def _words(row: Mapping, task: str) -> str:
    probability = decimal(row["probability"], 2)
    return (
        f"{row['error']}, {probability}" if task == "multilabel" else f"called {title(row['predicted'])}, {probability}"
    )


@styled
def gallery(shown: Mapping[str, list[tuple[np.ndarray, str]]], run: Run) -> Figure:
    """One or two rows per true class: the scans of `scans_of`, most confident first, with the run's answers."""
    columns = IN_LINE[run.task]
    lines = {name: -(-len(scans) // columns) for name, scans in shown.items()}
    panel = 10 / columns
    heights = [0.3 + count * (panel + (0.42 if columns <= 6 else 0.12)) for count in lines.values()]
    figure = Figure(figsize=(10, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(shown), 1, squeeze=False, height_ratios=heights).flat
    for part, (name, scans) in zip(parts, shown.items(), strict=True):
        words = f"{heading(name)}, missed or called" if run.task == "multilabel" else f"True class: {title(name)}"
        part.suptitle(words, x=0.01, ha="left", weight="bold", fontsize=10.5)
        for place, ax in enumerate(part.subplots(lines[name], columns, squeeze=False).flat):
            ax.set_axis_off()
            if place < len(scans):
                ax.set_axis_on()
                panels.show(ax, scans[place][0])
                ax.set_xlabel(wrapped(scans[place][1], 22 if columns <= 6 else 12), fontsize=8 if columns <= 6 else 6.5)
    counted = "; ".join(
        f"{title(name)}: {len(scans)}, the most confident {scans[0][1]}" for name, scans in shown.items()
    )
    figure.set_label(f"{heading(run.dataset)}, {run_name_title(run.name)}, its most confident errors. {counted}.")
    return figure
