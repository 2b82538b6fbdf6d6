"""Reliability diagrams: of the runs of a study, and of the predictors of a judgement."""

import pandas as pd
from matplotlib.figure import Figure

from lungkeras.report.figures import panels
from lungkeras.report.figures.style import styled
from lungkeras.study.words import decimal, heading, run_name_title, wrapped

COLUMNS = 4
COLOURS = ("#0b78b8", "#d55e00", "#009e73", "#9a68b8", "#c4598f", "#a6761d", "#4d7fff", "#7f7f00")


@styled
def reliability_diagrams(points: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """One row per dataset, one panel per run: confidence against the fraction correct; as trained in grey.

    `points`: columns run, dataset, backbone, weights, scaled (bool), confidence, share, answers. `scores`: columns run,
    temperature, ece, ece_scaled (both from lungkeras.evaluation.calibration).
    """
    datasets = list(dict.fromkeys(points["dataset"]))
    runs = {dataset: list(dict.fromkeys(points.loc[points["dataset"] == dataset, "run"])) for dataset in datasets}
    columns = max(map(len, runs.values()), default=1)
    figure = Figure(figsize=(2.3 * columns + 0.6, 2.75 * max(len(datasets), 1)), layout="constrained")
    if points.empty:
        figure.set_label("No run has finite probabilities.")
        return figure
    axes = figure.subplots(len(datasets), columns, squeeze=False, sharex=True, sharey=True)
    for row, dataset in zip(axes, datasets, strict=True):
        for ax in row[len(runs[dataset]) :]:
            ax.set_visible(False)
        for ax, run in zip(row, runs[dataset], strict=False):
            panels.reliability(ax, points[points["run"] == run])
            ax.set_title(wrapped(run_name_title(run), 22), loc="center", fontsize=8.5)
        row[0].set_ylabel(f"{heading(dataset)}\nshare correct")
    for ax in axes[-1]:
        ax.set_xlabel("confidence")
    numbers = [
        f"{heading(row.dataset)} {run_name_title(row.run)} {decimal(row.ece, 3)}, {decimal(row.ece_scaled, 3)}"
        for row in scores.itertuples()
    ]
    figure.set_label(f"Expected calibration error as trained and corrected: {'; '.join(numbers)}.")
    return figure


@styled
def reliability_of_predictors(points: pd.DataFrame, errors: pd.DataFrame) -> Figure:
    """One panel per predictor: confidence against the fraction correct; corrected in colour.

    `points`: predictor, scaled (bool), confidence, share, answers. `errors`: predictor, ece, and ece_scaled if a
    temperature was fitted.
    """
    names = list(dict.fromkeys(points["predictor"]))
    columns = min(len(names), COLUMNS)
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(2.5 * columns + 0.6, 2.75 * rows + 0.1), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes, names, strict=False):
        own = points[points["predictor"] == name].assign(backbone=name, weights="random")
        panels.reliability(ax, own)
        ax.set_title(wrapped(name, 26), loc="center", fontsize=8.5)
        ax.set_xlabel("confidence")
    for ax in axes[::columns]:
        ax.set_ylabel("share correct")
    corrected = "ece_scaled" in errors
    numbers = [
        f"{row.predictor} {decimal(row.ece, 3)}"
        + (f", {decimal(row.ece_scaled, 3)} with a temperature from val" if corrected else "")
        for row in errors.itertuples()
    ]
    figure.set_label(f"Expected calibration error: {'; '.join(numbers)}.")
    return figure
