"""Figures of how explanations were tested: pointing at known boxes, and weights randomised stage by stage."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from lungkeras.explanation.gradcam import overlay
from lungkeras.explanation.localisation import ALL, BASELINES, CEILING, PRIOR, RANDOM, RANDOMISED
from lungkeras.report.figures import panels
from lungkeras.report.figures.style import GREY, INK, run_colour, styled
from lungkeras.study.words import decimal, heading, run_name_title, wrapped

METHOD_TITLES = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "LayerCAM",
    PRIOR: "best fixed point",
    RANDOM: "point at random",
    CEILING: "best of all maps",
}
BASELINE_MARKERS = {PRIOR: "|", RANDOM: "x", CEILING: "d"}
# For each method: its marker, whether that is filled, its line style, and that of its reference level.
LOOKS = {
    "grad_cam": ("o", True, "-", ":"),
    "grad_cam_plus_plus": ("o", False, "--", "-."),
    "layer_cam": ("s", True, "-.", (0, (1, 4))),
}
EXAMPLES = 4  # scans under their maps, of each dataset


def method_title(method: str) -> str:
    """The name of a method in figures and tables."""
    return METHOD_TITLES.get(method, method)


def model_title(run: str) -> str:
    """The name of a model of `localisation` in figures and tables."""
    return "weights randomised" if run == RANDOMISED else run_name_title(run)


@styled
def pointing(found: pd.DataFrame, examples: Mapping[str, Sequence[Mapping]]) -> Figure:
    """How often maps point into a box: one line per dataset; some scans under their maps, then hit rates by class.

    Args:
        found: rows of `localisation.summary`.
        examples: {dataset: `localisation.examples`}, EXAMPLES or fewer.
    """
    boxed = found[found["findings"] > 0]
    datasets = list(dict.fromkeys(boxed["dataset"]))
    if not datasets:
        figure = Figure(figsize=(6, 0.8), layout="constrained")
        figure.text(0.01, 0.5, "No test scan has a known box.", va="center")
        figure.set_label("No test scan has a known box, so whether maps point at findings can’t be estimated.")
        return figure
    lines = [boxed.loc[boxed["dataset"] == dataset, "class"].nunique() for dataset in datasets]
    figure = Figure(figsize=(10, sum(2.2 + 0.42 * count for count in lines) + 0.7), layout="constrained")
    parts = figure.subfigures(len(datasets), 1, squeeze=False, height_ratios=[2.2 + 0.42 * count for count in lines])
    for part, dataset in zip(parts.flat, datasets, strict=True):
        own = boxed[boxed["dataset"] == dataset]
        part.suptitle(heading(dataset), x=0.01, ha="left", weight="bold", fontsize=10.5)
        above, below = part.subfigures(2, 1, height_ratios=[1.7, 0.6 + 0.42 * own["class"].nunique()])
        for ax, example in zip(above.subplots(1, EXAMPLES), _padded(examples.get(dataset, ())), strict=True):
            ax.set_axis_off()
            if example:
                _boxed_scan(ax, example)
        _hit_rates(below.subplots(), own)
    drawn = boxed.drop_duplicates(["run", "method"])
    handles = [_mark(method, run) for run, method in drawn[["run", "method"]].itertuples(index=False)]
    unique = {handle.get_label(): handle for handle in handles}
    figure.legend(handles=list(unique.values()), loc="outside lower center", ncols=3, fontsize=8.5)
    figure.set_label(_alt_text(boxed, datasets))
    return figure


def _padded(examples: Sequence[Mapping]) -> list:
    return [*list(examples)[:EXAMPLES], *[None] * EXAMPLES][:EXAMPLES]


def _boxed_scan(ax, example: Mapping) -> None:
    scan, heat_map = example["scan"], example["map"]
    height, width = scan.shape
    panels.show(ax, overlay(scan, heat_map))
    for left, top, right, bottom in example["edges"]:
        corner = (left * width - 0.5, top * height - 0.5)
        size = ((right - left) * width, (bottom - top) * height)
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor="#56b4e9", linewidth=1.4))
    found = heat_map.max() > 0
    if found:
        x, y = example["point"]
        ax.plot(x * width - 0.5, y * height - 0.5, marker="+", ms=9, mew=2, color="white")
    title = example["title"] if found else f"{example['title']} (empty map)"
    ax.set_title(wrapped(title, 30), loc="center", fontsize=8.5)


def _mark(method: str, run: str) -> Line2D:
    """How a row is drawn: in the colour of its backbone, one marker per method; baselines in grey."""
    look = {"linestyle": "", "ms": 6.5, "mew": 1.4}
    if method in BASELINES:
        look |= {"marker": BASELINE_MARKERS[method], "ms": 9, "mfc": "none"}
        return Line2D([], [], color=GREY, **look, label=method_title(method))
    backbone, weights = (run.split("-") + ["", ""])[1:3]
    colour = GREY if run == RANDOMISED else run_colour(backbone, weights)  # pretrained ones are nearly as dark as ink
    marker, filled, *_ = LOOKS[method]
    label = f"{model_title(run)}, {method_title(method)}"
    return Line2D([], [], color=colour, marker=marker, mfc=colour if filled else "none", **look, label=label)


def _hit_rates(ax, own: pd.DataFrame) -> None:
    classes = list(dict.fromkeys(own["class"]))
    rows = {name: len(classes) - 1 - place for place, name in enumerate(classes)}
    models = own.drop_duplicates(["run", "method"])
    spread = np.linspace(0.28, -0.28, len(models)) if len(models) > 1 else [0.0]
    for offset, (run, method) in zip(spread, models[["run", "method"]].itertuples(index=False), strict=True):
        drawn = own[(own["run"] == run) & (own["method"] == method)]
        mark = _mark(method, run)
        baseline = method in BASELINES
        at = drawn["class"].map(rows) + (0 if baseline else offset)
        ax.plot(
            drawn["hit"], at, linestyle="", marker=mark.get_marker(), color=mark.get_color(),
            mfc=mark.get_markerfacecolor(), ms=11 if baseline else 5, mew=1.8 if baseline else 1.2,
        )  # fmt: skip
        whole = drawn[drawn["class"] == ALL]
        if not baseline and len(whole):
            line = whole.iloc[0]
            height = rows[ALL] + offset
            ax.plot([line["hit_low"], line["hit_high"]], [height, height], color=mark.get_color(), linewidth=0.9)
    counts = own.groupby("class", sort=False)["findings"].max()
    names = {name: "all findings" if name == ALL else heading(name) for name in classes}
    ax.set_yticks(list(rows.values()), [f"{names[name]} ({counts[name]:.0f})" for name in rows])
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(classes) - 0.4), xlabel="share of maps that point into a box")


def _alt_text(boxed: pd.DataFrame, datasets: Sequence[str]) -> str:
    numbers = []
    for dataset in datasets:
        own = boxed[(boxed["dataset"] == dataset) & (boxed["class"] == ALL)]
        named = [
            f"{method_title(row.method) if not row.run else f'{model_title(row.run)} ({method_title(row.method)})'} "
            f"{decimal(row.hit, 2)}"
            for row in own.itertuples()
        ]
        numbers.append(f"{heading(dataset)}, {own['findings'].max():.0f} findings: {', '.join(named)}")
    return f"Share of maps whose maximum lies in a box. {'; '.join(numbers)}."


@styled
def cascade(found: pd.DataFrame, examples: Mapping[str, Mapping]) -> Figure:
    """Weights randomised from the logits down: for each dataset a scan under its map after each step, SSIM below.

    Args:
        found: rows of `randomisation.summary`.
        examples: {dataset: {scan uint8 (H, W), maps float (steps, H, W) of Grad-CAM}}.
    """
    datasets = list(dict.fromkeys(found["dataset"]))
    steps = max((found.loc[found["dataset"] == name, "step"].nunique() for name in datasets), default=1)
    figure = Figure(figsize=(1.45 * steps + 0.9, 3.3 * max(len(datasets), 1) + 0.4), layout="constrained")
    if found.empty:
        figure.set_label("No model was randomised.")
        return figure
    parts = figure.subfigures(len(datasets), 1, squeeze=False)
    handles, numbers = [], []
    for method in dict.fromkeys(found["method"]):
        marker, filled, line, floor = LOOKS[method]
        dots = {"color": INK, "marker": marker, "ms": 5, "mfc": INK if filled else "white", "ls": line}
        handles.append(Line2D([], [], **dots, label=method_title(method)))
        handles.append(Line2D([], [], color=GREY, ls=floor, label=f"{method_title(method)} of other scans"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8.5)
    for part, dataset in zip(parts.flat, datasets, strict=True):
        own = found[found["dataset"] == dataset]
        run = own["run"].iloc[0]
        part.suptitle(f"{heading(dataset)}: {run_name_title(run)}", x=0.01, ha="left", weight="bold", fontsize=10.5)
        axes = part.subplot_mosaic(
            [[f"map {step}" for step in range(steps)], ["curve"] * steps], height_ratios=[1.2, 1]
        )  # fmt: skip
        names = own.drop_duplicates("step")["stage"].tolist()
        for step in range(steps):
            ax = axes[f"map {step}"]
            if step < len(names):
                panels.show(ax, overlay(examples[dataset]["scan"], examples[dataset]["maps"][step]))
            else:
                ax.set_axis_off()
        _similarity(axes["curve"], own, names, steps)
        last = own[own["step"] == own["step"].max()]
        ends = [
            f"{method_title(row.method)} {decimal(row.ssim, 2)} (maps of other scans {decimal(row.other_ssim, 2)})"
            for row in last.itertuples()
        ]
        numbers.append(f"{heading(dataset)}: {', '.join(ends)}")
    axes["curve"].set_xlabel("weights randomised from the logits down to the layers of this grid")
    figure.set_label(f"SSIM with the trained model’s map when all weights are randomised. {'; '.join(numbers)}.")
    return figure


def _similarity(ax, own: pd.DataFrame, names: Sequence[str], steps: int) -> None:
    backbone, weights = (own["run"].iloc[0].split("-") + ["", ""])[1:3]
    colour = run_colour(backbone, weights)
    for method, drawn in own.groupby("method", sort=False):
        marker, filled, line, floor = LOOKS[method]
        mark = {"marker": marker, "ms": 5, "mfc": colour if filled else "white"}
        ax.plot(drawn["step"], drawn["ssim"], color=colour, ls=line, **mark)
        low, high = (drawn[f"ssim_{end}"].fillna(drawn["ssim"]) for end in ("low", "high"))
        ax.fill_between(drawn["step"], low, high, color=colour, alpha=0.13, linewidth=0)
        ax.axhline(drawn["other_ssim"].iloc[0], color=GREY, linewidth=1.2, linestyle=floor)
    ax.set_xticks(range(len(names)), names)
    ax.set(xlim=(-0.5, steps - 0.5), ylim=(min(-0.05, own["ssim"].min() - 0.05), 1.05), ylabel="SSIM")
