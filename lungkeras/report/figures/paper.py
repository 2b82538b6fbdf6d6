"""One function per figure of the paper: data in, matplotlib Figure out, made without pyplot and not saved.

Each figure carries one or two sentences with its numbers (`figure_files.description`): the report prints them and uses
them as the text for screen readers. Figure numbers are those of the paper.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lungkeras.datasets.registry import title
from lungkeras.explanation.gradcam import overlay
from lungkeras.report.figures import panels
from lungkeras.report.figures.style import GREY, class_style, run_colour, styled
from lungkeras.scores.divergence import best_epoch
from lungkeras.study.words import decimal, heading, run_name_title, run_title, wrapped

PANELS_IN_LINE = 7


@styled
def sample_scans(examples: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Figure 1: {dataset: {class: uint8 (H, W)}}, one panel per class; small datasets share a line of the page."""
    lines = [[]]
    for dataset in examples:
        used = sum(len(examples[other]) for other in lines[-1])
        if lines[-1] and used + len(examples[dataset]) > PANELS_IN_LINE:
            lines.append([])
        lines[-1].append(dataset)
    widest = max(sum(len(examples[dataset]) for dataset in line) for line in lines)
    panel = min(10 / widest, 2.4)
    figure = Figure(figsize=(panel * widest + 0.3, (panel + 0.6) * len(lines)), layout="constrained")
    for line, row in zip(lines, figure.subfigures(len(lines), 1, squeeze=False).flat, strict=True):
        widths = [len(examples[dataset]) for dataset in line]
        for dataset, part in zip(
            line, row.subfigures(1, len(line), width_ratios=widths, squeeze=False).flat, strict=True
        ):
            part.suptitle(heading(dataset), x=0.01, ha="left", weight="bold", fontsize=10.5)
            axes = part.subplots(1, len(examples[dataset]), squeeze=False).flat
            for ax, (name, image) in zip(axes, examples[dataset].items(), strict=True):
                panels.show(ax, image)
                ax.set_title(wrapped(title(name), 20), loc="center", fontsize=8.5)
    shown = "; ".join(f"{heading(d)}: {', '.join(title(name) for name in images)}" for d, images in examples.items())
    figure.set_label(f"One scan of each class. {shown}.")
    return figure


@styled
def strip(images: np.ndarray) -> Figure:
    """A row of scans, uint8 (N, H, W), to show in a notebook."""
    figure = Figure(figsize=(1.4 * len(images), 1.5), layout="constrained")
    for ax, image in zip(figure.subplots(1, len(images), squeeze=False).flat, images, strict=True):
        panels.show(ax, image)
    figure.set_label(f"{len(images)} scans.")
    return figure


@styled
def preprocessing_effect(steps: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Figure 2: {dataset: {step: uint8 (H, W)}}, one column per step, a histogram of grey levels under each image."""
    most = max(len(images) for images in steps.values())
    figure = Figure(figsize=(2.5 * most, 3.5 * len(steps)), layout="constrained")
    axes = figure.subplots(2 * len(steps), most, squeeze=False, gridspec_kw={"height_ratios": [3, 1] * len(steps)})
    for row, (dataset, images) in enumerate(steps.items()):
        for column in range(most):
            for ax in axes[2 * row : 2 * row + 2, column]:
                ax.set_visible(column < len(images))
        for column, (step, image) in enumerate(images.items()):
            panels.show(axes[2 * row, column], image)
            height, width = image.shape[:2]
            axes[2 * row, column].set_title(f"{step}, {width} × {height}", loc="center", fontsize=9)
            panels.histogram(axes[2 * row + 1, column], image)
        axes[2 * row, 0].set_ylabel(heading(dataset), weight="bold")
        axes[2 * row + 1, 0].set_ylabel("pixels (%)")
    for ax in axes[-1]:
        ax.set_xlabel("grey level (0 to 255)")
    spread = [
        f"{heading(dataset)}: "
        + ", ".join(f"{step} {image.mean():.0f} ± {image.std():.0f}" for step, image in images.items())
        for dataset, images in steps.items()
    ]
    figure.set_label(f"Grey levels, mean ± standard deviation. {'; '.join(spread)}.")
    return figure


def learning_curves(histories: pd.DataFrame) -> Figure:
    """Figure 3: one row per dataset, macro F1 and loss of every run; train dashed, validation solid, best epoch marked.

    Columns of `histories`: run, dataset, backbone, weights, epoch, loss, macro_f1, val_loss, val_macro_f1, and diverged
    (NaN, or the epoch in which a run diverged), if present.
    """
    return _curves(
        histories,
        colour=lambda curve: run_colour(curve["backbone"], curve["weights"]),
        label=lambda curve: run_title(curve["backbone"], curve["weights"]),
    )


def transfer_curves(histories: pd.DataFrame) -> Figure:
    """Figure 4: as `learning_curves`, for a backbone from random weights (lighter) and pretrained ones (darker)."""
    return _curves(
        histories,
        colour=lambda curve: run_colour(curve["backbone"], curve["weights"]),
        label=lambda curve: run_title(curve["backbone"], curve["weights"], scratch=True),
    )


@styled
def embeddings_and_confusions(
    points: pd.DataFrame, confusions: Mapping[str, pd.DataFrame], titles: Mapping[str, str] | None = None
) -> Figure:
    """Figures 5 and 6: one column per run; above its embedding of the test split, below its confusion matrix.

    Args:
        points: columns run, x, y, label (the true class); t-SNE has no units, so the axes have no ticks.
        confusions: {run: counts (int), true classes as rows, predicted ones as columns}. Shades are shares of a row.
        titles: {run: text above its column}; by default backbone and weights, from the run's name.
    """
    titles = titles or {}
    classes = list(next(iter(confusions.values())).index)
    size = 0.55 * len(classes) + 1.3
    width = max(2.5, size) * len(confusions) + 0.8
    figure = Figure(figsize=(width, size + 3.4), layout="constrained")
    axes = figure.subplots(2, len(confusions), squeeze=False, gridspec_kw={"height_ratios": [2.9, size]})
    for column, (run, counts) in enumerate(confusions.items()):
        above, below = axes[:, column]
        panels.embedding(above, points[points["run"] == run], classes)
        above.set_title(wrapped(titles.get(run) or run_name_title(run), 24), loc="center")
        panels.confusion(below, counts, named=column == 0)
    handles = [panels.point(title(name), *class_style(name, place)) for place, name in enumerate(classes)]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(classes), 7))
    right = {run: (int(np.trace(counts)), int(counts.to_numpy().sum())) for run, counts in confusions.items()}
    shares = [
        f"{titles.get(run) or run_name_title(run)} {hits} of {scans} ({hits / max(scans, 1):.0%})"
        for run, (hits, scans) in right.items()
    ]
    figure.set_label(f"Test scans classified correctly: {', '.join(shares)}.")
    return figure


@styled
def grad_cams(
    scans: Mapping[str, np.ndarray],
    heatmaps: Mapping[str, Mapping[str, np.ndarray]],
    probabilities: Mapping[str, Mapping[str, float]],
    titles: Mapping[str, str] | None = None,
) -> Figure:
    """Figures 7 and 8: one row per class; its scan, then one column per run with the evidence for that class over it.

    Args:
        scans: {class: uint8 (H, W)}.
        heatmaps: {run: {class: float (H, W) in [0, 1]}}; a class that a run lacks leaves its panel empty.
        probabilities: {run: {class: probability in [0, 1] that the run gives to this class}}.
        titles: as for `embeddings_and_confusions`.
    """
    titles = titles or {}
    columns = 1 + len(heatmaps)
    figure = Figure(figsize=(2.1 * columns + 0.9, 2.35 * len(scans) + 0.3), layout="constrained")
    axes = figure.subplots(len(scans), columns, squeeze=False)
    for row, (name, scan) in zip(axes, scans.items(), strict=True):
        panels.show(row[0], scan)
        row[0].set_ylabel(wrapped(title(name), 22), weight="bold")
        for ax, run in zip(row[1:], heatmaps, strict=True):
            if name not in heatmaps[run]:
                ax.set_axis_off()
                continue
            panels.show(ax, overlay(scan, heatmaps[run][name]))
            ax.set_xlabel(f"probability {decimal(probabilities.get(run, {}).get(name), 2)}", fontsize=9)
    axes[0, 0].set_title("scan", loc="center")
    for ax, run in zip(axes[0, 1:], heatmaps, strict=True):
        ax.set_title(wrapped(titles.get(run) or run_name_title(run), 20), loc="center")
    bar = figure.colorbar(ScalarMappable(cmap="inferno"), ax=axes, shrink=0.5, aspect=30, pad=0.01)
    bar.set_label("evidence for the class (share of the map's maximum)")
    bar.outline.set_visible(False)
    given = [
        f"{titles.get(run) or run_name_title(run)} "
        + ", ".join(f"{title(name)} {decimal(probabilities.get(run, {}).get(name), 2)}" for name in scans)
        for run in heatmaps
    ]
    figure.set_label(f"Probability that each model gives to the true class of the scan: {'; '.join(given)}.")
    return figure


def ablation_curves(histories: pd.DataFrame) -> Figure:
    """Figure 9: as `learning_curves`, distinguished by the initial learning rate (column `rate`)."""
    colours = rate_colours(histories["rate"])
    return _curves(
        histories.sort_values(["rate", "run", "epoch"], kind="stable"),
        colour=lambda curve: colours[curve["rate"]],
        label=lambda curve: f"learning rate {curve['rate']:g}",
    )


@styled
def ablation_bars(results: pd.DataFrame) -> Figure:
    """Figure 10: one bar per learning rate, in the colours of figure 9. Columns: rate, macro_f1 (or NaN).

    With the columns macro_f1_low and macro_f1_high, each bar has its interval.
    """
    results = results.sort_values("rate", kind="stable")
    rates, scores = results["rate"].tolist(), results["macro_f1"].to_numpy(float)
    colours = rate_colours(rates)
    figure = Figure(figsize=(max(3.5, 1.1 * len(rates) + 1), 3.4), layout="constrained")
    ax = figure.subplots()
    ax.bar([f"{rate:g}" for rate in rates], np.nan_to_num(scores), color=[colours[rate] for rate in rates], width=0.65)
    low, high = (
        results[name].to_numpy(float) if name in results else scores for name in ("macro_f1_low", "macro_f1_high")
    )
    tops = np.fmax(np.nan_to_num(scores), np.nan_to_num(high))
    if (high > low).any():
        reach = np.nan_to_num([scores - low, high - scores])
        ax.errorbar(range(len(rates)), np.nan_to_num(scores), reach, fmt="none", ecolor=GREY, elinewidth=1.4, capsize=3)
    for place, (score, top) in enumerate(zip(scores, tops, strict=True)):
        ax.text(place, top + 0.015, decimal(score, 3), ha="center", va="bottom", fontsize=9.5)
    ax.set(xlabel="initial learning rate", ylabel="test macro F1", ylim=(0, 1.08), yticks=np.linspace(0, 1, 6))
    ax.grid(visible=False, axis="x")
    listed = ", ".join(f"{rate:g}: {decimal(score, 3)}" for rate, score in zip(rates, scores, strict=True))
    figure.set_label(f"Test macro F1 by initial learning rate: {listed}.{_overlap(rates, scores, low, high)}")
    return figure


def _overlap(rates: list[float], scores: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """The rates whose intervals overlap that of the highest score."""
    if not np.isfinite(scores).any():
        return ""
    top = int(np.nanargmax(scores))
    reaching = [f"{rate:g}" for place, rate in enumerate(rates) if place != top and high[place] >= low[top]]
    others = f"; the intervals of {', '.join(reaching)} reach its own" if reaching else ""
    return f" The highest is that of {rates[top]:g}{others}."


def rate_colours(rates) -> dict[float, tuple]:
    """One colour per learning rate, from dark (the lowest) to light."""
    rates = sorted(set(rates))
    return dict(zip(rates, colormaps["viridis"](np.linspace(0.0, 0.85, len(rates))), strict=True))


@styled
def _curves(histories: pd.DataFrame, colour: Callable[[dict], object], label: Callable[[dict], str]) -> Figure:
    datasets = list(dict.fromkeys(histories["dataset"]))
    figure = Figure(figsize=(9, 2.6 * len(datasets) + 0.7), layout="constrained")
    axes = figure.subplots(len(datasets), 2, squeeze=False)
    handles, numbers = {}, []
    for (left, right), dataset in zip(axes, datasets, strict=True):
        of_dataset = histories[histories["dataset"] == dataset]
        reached = []
        for _, curve in of_dataset.groupby("run", sort=False):
            first = curve.iloc[0].to_dict()
            panels.curve(left, curve, "macro_f1", colour(first))
            panels.curve(right, curve, "loss", colour(first))
            handles.setdefault(label(first), Line2D([], [], color=colour(first), linewidth=2.4))
            reached.append(f"{label(first)} {_reached(curve)}")
        left.set(title=f"{heading(dataset)}: macro F1", ylabel="macro F1", ylim=(-0.02, 1.02))
        right.set(title=f"{heading(dataset)}: loss", ylabel="loss (nats)")
        panels.loss_scale(right, of_dataset)
        numbers.append(f"{heading(dataset)}: {', '.join(reached)}")
    for ax in axes.flat:
        ax.set_xlabel("epoch" if ax in axes[-1] else "")
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    kinds = {
        "train": Line2D([], [], color="#555", linestyle="--"),
        "validation": Line2D([], [], color="#555"),
        "lowest validation loss": panels.point("", "#555", "o"),
    }
    if any(panels.diverged(curve) for _, curve in histories.groupby("run")):
        kinds["diverged"] = Line2D([], [], color="#555", linestyle=":", linewidth=1.4)
    entries = handles | kinds
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=min(len(entries), 4))
    figure.set_label(f"Validation macro F1 at the epoch of the lowest validation loss. {'; '.join(numbers)}.")
    return figure


def _reached(curve: pd.DataFrame) -> str:
    """The best validation score of a run, and whether it diverged."""
    best, epoch = best_epoch(curve), panels.diverged(curve)
    lost = "" if epoch is None else f", diverged in epoch {epoch}"
    if best is None:
        return f"without a validation loss that is a number{lost}"
    return f"{decimal(curve.loc[curve['epoch'] == best, 'val_macro_f1'].iloc[0], 3)} (epoch {best}{lost})"
