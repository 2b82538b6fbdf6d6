"""The figure of a judgement: one reliability diagram per predictor."""

import pandas as pd
from matplotlib.figure import Figure

from lungkeras.report.figures import panels
from lungkeras.report.figures.style import styled
from lungkeras.study.words import decimal, wrapped

COLUMNS = 4
COLOURS = ("#0b78b8", "#d55e00", "#009e73", "#9a68b8", "#c4598f", "#a6761d", "#4d7fff", "#7f7f00")


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
    parts = [
        f"{row.predictor} {decimal(row.ece, 3)}"
        + (f", {decimal(row.ece_scaled, 3)} with a temperature from val" if corrected else "")
        for row in errors.itertuples()
    ]
    figure.set_label(f"Expected calibration error: {'; '.join(parts)}.")
    return figure
