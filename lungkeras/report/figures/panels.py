"""One function per panel: draws data into the matplotlib axes of a figure."""

import numpy as np
import pandas as pd
import seaborn
from matplotlib.lines import Line2D

from lungkeras.datasets.registry import title
from lungkeras.report.figures.style import GREY, class_style, run_colour
from lungkeras.scores.divergence import best_epoch
from lungkeras.study.words import wrapped

HISTOGRAM_BINS = 64
MANY_POINTS = 5000  # with more points than this, an SVG holds them as pixels
STRAY_LOSS = 10  # a loss this many times the median would flatten all others


def show(ax, image: np.ndarray) -> None:
    """A scan as it is: uint8 grey (H, W) in [0, 255], or RGB (H, W, 3)."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def histogram(ax, image: np.ndarray) -> None:
    """The share of a uint8 image's pixels in each of 64 bins of grey levels."""
    counts, edges = np.histogram(image, bins=HISTOGRAM_BINS, range=(0, 256))
    ax.stairs(100 * counts / image.size, edges, fill=True, color="#5b6770")
    ax.set(xlim=(0, 256), xticks=[0, 128, 255])
    ax.tick_params(labelsize=8)


def curve(ax, history: pd.DataFrame, metric: str, colour) -> None:
    """A metric by epoch of one run: train dashed, validation solid, the best epoch marked, and where it diverged."""
    dot = "." if len(history) == 1 else None  # a line of one point is not drawn
    ax.plot(history["epoch"], history[metric], color=colour, linestyle="--", linewidth=1.1, alpha=0.75, marker=dot)
    ax.plot(history["epoch"], history[f"val_{metric}"], color=colour, marker=dot)
    best = history[history["epoch"] == best_epoch(history)]
    ax.plot(best["epoch"], best[f"val_{metric}"], color=colour, marker="o", ms=6.5, mec="white", zorder=5)
    if (epoch := diverged(history)) is not None:
        ax.axvline(epoch, color=colour, linestyle=":", linewidth=1.4)


def diverged(curve: pd.DataFrame) -> int | None:
    """The epoch in which a run diverged, from the column of this name; None if it did not or is unknown."""
    epochs = curve["diverged"].dropna() if "diverged" in curve else ()
    return int(epochs.iloc[0]) if len(epochs) else None


def loss_scale(ax, histories: pd.DataFrame) -> None:
    """A logarithmic axis where a few stray losses would flatten all others."""
    losses = histories[["loss", "val_loss"]].to_numpy(float)
    losses = losses[np.isfinite(losses)]
    if losses.size and losses.min() > 0 and losses.max() > STRAY_LOSS * np.median(losses):
        ax.set(yscale="log", ylabel="loss (nats, logarithmic)")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")


def embedding(ax, points: pd.DataFrame, classes: list[str]) -> None:
    """One point per scan (columns x, y, label), distinguished by colour and marker. No ticks: t-SNE has no units."""
    for place, name in enumerate(classes):
        colour, marker = class_style(name, place)
        own = points[points["label"] == name]
        look = {"color": colour, "marker": marker, "s": 16, "alpha": 0.85, "linewidths": 0.3, "edgecolors": "white"}
        ax.scatter(own["x"], own["y"], label=title(name), rasterized=len(points) > MANY_POINTS, **look)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    ax.set_box_aspect(1)


def confusion(ax, counts: pd.DataFrame, *, named: bool) -> None:
    """Counts (true classes as rows), shaded by their share of the row; row names at the left if `named`."""
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    names = [wrapped(title(name), 12) for name in counts.index]
    labels = {"annot": counts.to_numpy(), "fmt": "d", "xticklabels": names, "yticklabels": names if named else False}
    seaborn.heatmap(
        shares, ax=ax, vmin=0, vmax=1, cmap="Blues", cbar=False, square=True, linewidths=1, linecolor="white", **labels
    )
    ax.set(xlabel="predicted class", ylabel="true class" if named else "")
    ax.tick_params(axis="x", labelsize=8.5)
    ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="y", rotation=0, labelsize=8.5)


def reliability(ax, points: pd.DataFrame) -> None:
    """Reliability of one run, confidence against the fraction correct: as trained in grey, corrected in colour."""
    ax.plot([0, 1], [0, 1], color="#b8bec4", linewidth=1, linestyle="--", zorder=1)
    for scaled, drawn in points.groupby("scaled", sort=True):
        first = drawn.iloc[0]
        colour = run_colour(first["backbone"], first["weights"]) if scaled else GREY
        ax.plot(drawn["confidence"], drawn["share"], color=colour, linewidth=1.2, zorder=2 + scaled)
        sizes = 6 + 70 * drawn["answers"] / drawn["answers"].sum()
        ax.scatter(drawn["confidence"], drawn["share"], s=sizes, color=colour, linewidths=0, zorder=2 + scaled)
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    ax.set_box_aspect(1)


def point(label: str, colour: str, marker: str) -> Line2D:
    """A marker for a legend."""
    return Line2D([], [], color=colour, marker=marker, ms=6.5, mec="white", linestyle="", label=label)
