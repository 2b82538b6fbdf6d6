"""The curve of a learning-rate range test."""

import pandas as pd
from matplotlib.figure import Figure

from lungkeras.report.figures.style import GREY, INK, styled
from lungkeras.training.learning_rates import steepest


@styled
def range_test(tested: pd.DataFrame) -> Figure:
    """The loss by learning rate, of `training.range_test`: each batch, their mean, and where it falls fastest."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss (nats)")
    if tested.empty:
        figure.set_label("The loss is NaN or infinite from the first step on.")
        return figure
    ax.plot(tested["learning_rate"], tested["loss"], color=GREY, linewidth=0.8, alpha=0.7, label="each batch")
    ax.plot(tested["learning_rate"], tested["smoothed"], color=INK, label="smoothed")
    low, high = tested["smoothed"].min(), tested["smoothed"].iloc[0]
    ax.set_ylim(
        min(low, tested["loss"].min()) - 0.05 * high, 2 * high - 0.5 * low
    )  # diverging losses are outside the frame
    rate = steepest(tested)
    least = tested.loc[tested["smoothed"].idxmin()]
    sentence = (
        f"The smoothed loss is lowest, {least['smoothed']:.2f}, at a learning rate of {least['learning_rate']:.2g}"
    )
    ax.xaxis.set_major_formatter("{x:g}")
    if rate != rate:
        sentence += ", and falls by no more than the noise between batches"
    else:
        ax.axvline(rate, color="#0072b2", linestyle=":", label=f"falls fastest at {rate:.2g}")
        sentence += f", and falls fastest at {rate:.2g}"
    ax.legend()
    figure.set_label(f"{sentence}.")
    return figure
