"""The plots of benchmarks/README.md, from the CSVs in results/.

    python benchmarks/plots.py [--quick]

Writes a PNG beside each CSV that is there; with --quick, of those in results/quick/.
"""

import argparse
from pathlib import Path

from measuring import RESULTS  # isort: skip

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter, StrMethodFormatter

from lungkeras.report.figures.style import INK, styled
from lungkeras.study.words import backbone_title

STEPS = ("prepare", "copies", "audit", "predict", "scores", "features", "grad_cam")


@styled
def scale(table: pd.DataFrame) -> Figure:
    """Time and peak memory of each step against the number of scans, both logarithmic, beside a linear growth."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for ax, column, label in zip(
        figure.subplots(1, 2), ("seconds", "peak_mb"), ("seconds", "peak memory, MB"), strict=True
    ):
        for step in STEPS:
            rows = table[table["step"] == step]
            ax.plot(rows["scans"], rows[column], marker="o", markersize=4, label=step.replace("_", "-"))
        ax.set(xscale="log", yscale="log", xlabel="scans", ylabel=label)
        ax.set_xticks(sorted(set(table["scans"])))
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        if column == "seconds":
            ends = table["scans"].min(), table["scans"].max()
            ax.plot(ends, [end / ends[0] for end in ends], color=INK, linestyle=":")
            ax.annotate("linear", (ends[0], 1), xytext=(4, -2), textcoords="offset points", va="top")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@styled
def beside_peers(table: pd.DataFrame) -> Figure:
    """How many times as fast each contender is as the peer, a group of bars a backbone."""
    return _bars(table, "contender", "speed", f"times as fast as {table['peer'].iloc[0]}")


@styled
def backends(table: pd.DataFrame) -> Figure:
    """How long a run of the demo takes on each backend, over the first one's time."""
    return _bars(table, "backend", "ratio", f"time of a run, over that on {table['backend'].iloc[0]}")


@styled
def pipeline(table: pd.DataFrame) -> Figure:
    """Scans a second of preparation and of the batches."""
    figure = Figure(figsize=(7, 0.4 * len(table) + 1), layout="constrained")
    ax = figure.subplots()
    ax.barh(table["kind"] + ": " + table["what"], table["scans_a_second"])
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel="scans a second")
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return figure


@styled
def paper(table: pd.DataFrame) -> Figure:
    """Projected days of one run of the published study, by dataset and backbone."""
    return _bars(table, "dataset", "run_days", "projected days of one run, on this CPU")


def _bars(table: pd.DataFrame, group: str, column: str, label: str) -> Figure:
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    ax = figure.subplots()
    wide = table.pivot_table(index="backbone", columns=group, values=column, sort=False)
    wide.rename(index=backbone_title).plot.bar(ax=ax, rot=0, width=0.75)
    ax.set(xlabel="", ylabel=label)
    ax.legend(title="", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


PLOTS = {
    "scale": scale,
    "training_step": beside_peers,
    "training_step_jax": beside_peers,
    "epoch": beside_peers,
    "backends": backends,
    "input_pipeline": pipeline,
    "paper": paper,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="of the results that --quick wrote")
    parser.add_argument("--of", type=Path, help="of the CSVs in this folder")
    options = parser.parse_args()
    folder = options.of or (RESULTS / "quick" if options.quick else RESULTS)
    for name, draw in PLOTS.items():
        if (folder / f"{name}.csv").is_file():
            draw(pd.read_csv(folder / f"{name}.csv")).savefig(folder / f"{name}.png", dpi=100)
            print(folder / f"{name}.png")


if __name__ == "__main__":
    main()
