"""Figures that the notebooks show before their tables; the report has tables and figures of its own."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lungkeras.datasets.registry import title
from lungkeras.preparation.audit.shortcuts import PROBES
from lungkeras.report.audit import probe_title
from lungkeras.report.figures import panels
from lungkeras.report.figures.style import GREY, INK, class_style, run_colour, styled
from lungkeras.study.words import heading, run_name_title, wrapped

SPLIT_COLOURS = ("#3b6ea5", "#7fa8d1", "#c8d9ea")
BOX_COLOUR = "#56b4e9"


@styled
def class_bars(counts: pd.DataFrame) -> Figure:
    """Scans of each class, a bar in parts for the splits; of `summaries.class_counts`."""
    classes = counts.drop(index=["scans", "patients"])
    splits = [name for name in ("train", "val", "test") if name in classes]
    figure = Figure(figsize=(7, 0.8 + 0.32 * len(classes)), layout="constrained")
    ax, start = figure.subplots(), np.zeros(len(classes))
    for split, colour in zip(splits, SPLIT_COLOURS, strict=False):
        ax.barh(classes.index, classes[split], left=start, color=colour, label=split, height=0.7)
        start += classes[split].to_numpy()
    ax.invert_yaxis()
    ax.set(xlabel="scans")
    ax.grid(visible=False, axis="y")
    figure.legend(loc="outside upper right", ncols=len(splits))
    figure.set_label("; ".join(f"{name}: {row['all']:,} scans" for name, row in classes.iterrows()))
    return figure


@styled
def shortcuts(found: pd.DataFrame) -> Figure:
    """What each probe predicts without the lungs: AUROC with its interval, and the limit of an alarm."""
    known = found.dropna(subset=["auroc"])
    probes = list(dict.fromkeys(known["name"]))
    figure = Figure(figsize=(7, 1.1 + 0.55 * len(probes)), layout="constrained")
    ax, classes = figure.subplots(), list(dict.fromkeys(known["class"]))
    offsets = np.linspace(-0.3, 0.3, len(classes)) if len(classes) > 1 else np.zeros(1)
    for place, name in enumerate(classes):
        own = known[known["class"] == name]
        colour, marker = class_style(name, place)
        at = own["name"].map(probes.index) + offsets[place]
        ax.hlines(at, own["low"], own["high"], color=colour, linewidth=1.2)
        ax.plot(own["auroc"], at, marker, color=colour, ms=5, label=title(name))
    for row, name in enumerate(probes):
        if name in PROBES and np.isfinite(PROBES[name].limit):
            ax.vlines(PROBES[name].limit, row - 0.42, row + 0.42, color=INK, linestyle=":")
    ax.set_yticks(range(len(probes)), [probe_title(name) for name in probes])
    ax.invert_yaxis()
    ax.set(xlabel="AUROC (dotted: an interval beyond it is an alarm)")
    if classes:
        figure.legend(loc="outside right upper")
    figure.set_label(f"{len(known)} probes, {int(known['alarm'].sum())} alarms.")
    return figure


@styled
def scores(table: pd.DataFrame) -> Figure:
    """Macro F1 of every model with its interval, by dataset, beside the paper's where there is one; of Table 3."""
    known = table.dropna(subset=["macro_f1"])
    datasets = list(dict.fromkeys(known["dataset"]))
    figure = Figure(figsize=(7, 0.8 + 0.3 * len(known) + 0.4 * len(datasets)), layout="constrained")
    heights = [known["dataset"].eq(name).sum() + 1 for name in datasets]
    axes = figure.subplots(max(len(datasets), 1), 1, sharex=True, squeeze=False, height_ratios=heights or None)[:, 0]
    for ax, dataset in zip(axes, datasets, strict=False):
        own = known[known["dataset"] == dataset].reset_index(drop=True)
        for row in own.itertuples():
            colour = run_colour(row.backbone, row.weights)
            ax.hlines(row.Index, row.macro_f1_low, row.macro_f1_high, color=colour)
            ax.plot(row.macro_f1, row.Index, "o", color=colour, mfc=colour if row.weights == "random" else "white")
            ax.plot(getattr(row, "published_macro_f1", np.nan), row.Index, "|", color=GREY, ms=11, mew=2)
        ax.set_yticks(own.index, own["run"].map(run_name_title))
        ax.set(ylim=(len(own) - 0.4, -0.6))
        ax.set_title(heading(dataset))
        ax.grid(visible=False, axis="y")
    axes[-1].set_xlabel(
        "macro F1 with 95 % interval (grey mark: the paper’s)" if _has_paper(known) else "macro F1, 95 % interval"
    )
    figure.set_label(f"Macro F1 of {len(known)} runs.")
    return figure


def _has_paper(table: pd.DataFrame) -> bool:
    return "published_macro_f1" in table and bool(table["published_macro_f1"].notna().any())


@styled
def confusion(counts: pd.DataFrame) -> Figure:
    """The confusion matrix of one run: counts with the true classes as rows."""
    side = 1.6 + 0.75 * len(counts)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    panels.confusion(figure.subplots(), counts, named=True)
    figure.set_label(
        f"{int(np.trace(counts.to_numpy()))} of {int(counts.to_numpy().sum())} scans are classified correctly."
    )
    return figure


def grey(values: np.ndarray) -> np.ndarray:
    """Numbers of 0 and more (H, W) as grey levels, uint8: 0 is black, the maximum white."""
    most = values.max()
    return (
        np.rint(255 * np.clip(values / most, 0, 1)).astype(np.uint8) if most > 0 else np.zeros(values.shape, np.uint8)
    )


@styled
def titled(images: Mapping[str, np.ndarray], edges: np.ndarray = ()) -> Figure:
    """Images side by side, each under its title: uint8 (H, W) or RGB (H, W, 3), with boxes (N, 4) as shares."""
    figure = Figure(figsize=(2.3 * len(images), 2.7), layout="constrained")
    for ax, (name, image) in zip(figure.subplots(1, len(images), squeeze=False).flat, images.items(), strict=True):
        panels.show(ax, image)
        ax.set_title(wrapped(name, 28), loc="center", fontsize=9)
        height, width = image.shape[:2]
        for left, top, right, bottom in np.reshape(edges, (-1, 4)):
            corner, size = (left * width - 0.5, top * height - 0.5), ((right - left) * width, (bottom - top) * height)
            ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=BOX_COLOUR, linewidth=1.4))
    figure.set_label(f"Side by side: {', '.join(images)}.")
    return figure


@styled
def verdicts(ledger: pd.DataFrame) -> Figure:
    """How many claims of the paper have which verdict, one bar for each."""
    counts = ledger["verdict"].value_counts()
    figure = Figure(figsize=(7, 0.8 + 0.32 * max(len(counts), 1)), layout="constrained")
    ax = figure.subplots()
    ax.bar_label(ax.barh(counts.index, counts, color=SPLIT_COLOURS[0], height=0.7), padding=3)
    ax.invert_yaxis()
    ax.set(xlabel="claims")
    ax.grid(visible=False, axis="y")
    figure.set_label("; ".join(f"{verdict}: {count} claims" for verdict, count in counts.items()) or "No claim.")
    return figure
