"""Data for the page's script, as in `live`: how often maps point at findings, and maps while weights are randomised."""

import pandas as pd

from lungkeras.explanation.localisation import ALL, BASELINES, RANDOMISED
from lungkeras.report.figures.explanations import BASELINE_MARKERS, LOOKS, method_title, model_title
from lungkeras.report.figures.style import run_colour, themed
from lungkeras.report.grid import anchor
from lungkeras.study.words import heading, run_name_title

DASHES = {"-": "", "--": "5 3", "-.": "7 3 1.5 3", ":": "1.5 2.5"}  # of matplotlib and of SVG


def pointing(found: pd.DataFrame) -> dict:
    """A panel per dataset with boxes: hit rates by class of each model, method and baseline, from `localisation`."""
    panels = []
    for dataset, own in found[found["findings"] > 0].groupby("dataset", sort=False):
        counts = own.groupby("class", sort=False)["findings"].max()
        rows = [
            {"name": "all findings" if name == ALL else heading(name), "n": int(count)}
            for name, count in counts.items()
        ]
        lines = []
        for (run, method, _), part in own.fillna({"run": ""}).groupby(["run", "method", "cells"], sort=False):
            scores = part.set_index("class").reindex(counts.index)
            ends = {"y": "hit", "low": "hit_low", "high": "hit_high"}
            values = {key: scores[column].astype(float).tolist() for key, column in ends.items()}
            lines.append(_look(run, method) | values)
        panels.append({"title": heading(dataset), "rows": rows, "lines": lines})
    if not panels:
        raise ValueError("no finding has a box")
    return {"kind": "rows", "x": "share of maps that point into a box", "panels": panels}


def _look(run: str, method: str) -> dict:
    if method in BASELINES:
        look = {"marker": BASELINE_MARKERS[method], "filled": False, "colour": "", "baseline": True}
        return {"name": method_title(method)} | look
    marker, filled, *_ = LOOKS[method]
    colour = "var(--ink)" if run == RANDOMISED else _colour(run)
    name = f"{model_title(run)}, {method_title(method)}"
    return {"name": name, "marker": marker, "filled": filled, "colour": colour, "baseline": False}


def _colour(run: str) -> str:
    backbone, weights = (run.split("-") + ["", ""])[1:3]
    return themed(run_colour(backbone, weights))


def cascade(found: pd.DataFrame) -> dict:
    """A panel per dataset: SSIM with the trained model's map after each step, by method, from `randomisation`."""
    panels = []
    for (dataset, run), own in found.groupby(["dataset", "run"], sort=False):
        stages = own.drop_duplicates("step").sort_values("step")["stage"].tolist()
        lines = []
        for method, part in own.sort_values("step").groupby("method", sort=False):
            ends = {"y": "ssim", "low": "ssim_low", "high": "ssim_high"}
            values = {key: part[column].astype(float).tolist() for key, column in ends.items()}
            floor = float(part["other_ssim"].iloc[0])
            lines.append(_line(method) | {"colour": _colour(run), "floor": floor} | values)
        title = f"{heading(dataset)}: {run_name_title(run)}"
        panels.append({"title": title, "run": anchor(run), "steps": stages, "lines": lines})
    legend = []
    for method in dict.fromkeys(found["method"]):
        look = _line(method)
        legend.append(look | {"colour": "var(--ink)"})
        legend.append({"name": f"{look['name']} of other scans", "dash": look["below"], "colour": ""})
    return {"kind": "steps", "x": "randomised from the logits down to", "legend": legend, "panels": panels}


def _line(method: str) -> dict:
    marker, filled, dash, below = LOOKS[method]
    dashes = {"dash": DASHES[dash], "below": DASHES.get(below, "1.5 4") if isinstance(below, str) else "1.5 4"}
    return {"name": method_title(method), "marker": marker, "filled": filled} | dashes
