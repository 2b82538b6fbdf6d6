"""Sentences under the tables and figures of notebooks 04 and 06: features, heat maps and the tests of heat maps."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.explanation.localisation import ALL, BASELINES, PRIOR, RANDOMISED
from lungkeras.report.readings.words import counted, one_sentence, paragraph
from lungkeras.study.words import decimal, heading, listed, run_name_title


def of_features(features: pd.DataFrame) -> str:
    """How often the nearest neighbours of a scan share its class, model by model; from the table features."""
    purity = features.groupby("run", sort=False)["purity"].mean().dropna()
    if purity.empty:
        return paragraph("No neighbours could be measured.")
    parts = []
    for dataset, own in purity.groupby(lambda run: run.partition("-")[0], sort=False):
        best, worst = own.idxmax(), own.idxmin()
        beside = f", least with {run_name_title(worst)} ({own[worst]:.0%})" if len(own) > 1 else ""
        parts.append(f"{heading(dataset)}, most with {run_name_title(best)} ({own[best]:.0%}){beside}")
    return paragraph(f"Share of a scan’s ten nearest neighbours that have its class: {'; '.join(parts)}.")


def of_maps(maps: pd.DataFrame) -> str:
    """How much of a scan heat maps cover, and the class with the widest maps; from the table heatmaps."""
    area = maps.groupby(["run", "label"], sort=False)["area"].mean().dropna()
    if area.empty:
        return paragraph("No heat map could be measured.")
    (wide_run, wide), (narrow_run, narrow) = area.idxmax(), area.idxmin()
    right = maps[maps["correct"] == 1]["area"].mean(), maps[maps["correct"] == 0]["area"].mean()
    return paragraph(
        f"Maps cover {maps['area'].mean():.1%} of a scan on average: the most {area.max():.1%} ({title(wide)}, "
        f"{_model(wide_run)}), the least {area.min():.1%} ({title(narrow)}, {_model(narrow_run)}).",
        f"On correctly classified scans they cover {right[0]:.1%}, on the others {right[1]:.1%}."
        if not np.isnan(right).any()
        else "",
    )


def _model(run: str) -> str:
    return f"{run_name_title(run)} on {heading(run.partition('-')[0])}"


def of_pointing(located: pd.DataFrame) -> str:
    """Whether maps point at findings more often than a fixed point does; of the table localisation."""
    whole = located[(located["class"] == ALL) & (located["findings"] > 0)]
    parts = []
    for dataset, own in whole.groupby("dataset", sort=False):
        asked = own[~own["method"].isin(BASELINES) & (own["run"] != RANDOMISED)].dropna(subset=["hit"])
        prior = own.loc[own["method"] == PRIOR, "hit"].max()
        if asked.empty:
            continue
        best = asked.loc[asked["hit"].idxmax()]
        above = int((asked["above_prior_low"] > 0).sum())
        parts.append(
            f"{heading(dataset)}: maps of {above} of {len(asked)} models and methods point into a box significantly "
            f"more often than the best fixed point ({decimal(prior, 2)}), at most {decimal(best['hit'], 2)} of "
            f"{counted(best['findings'], 'finding')} ({run_name_title(best['run'])})"
        )
    return paragraph(
        one_sentence(parts) or "No test scan has a known box, so whether maps point at findings is unknown."
    )


def of_randomisation(fallen: pd.DataFrame) -> str:
    """How far maps change with the weights randomised; of the table randomisation."""
    parts = []
    for (dataset, method), own in fallen.groupby(["dataset", "method"], sort=False):
        if method != "grad_cam":
            continue
        last = own.loc[own["step"].idxmax()]
        verdict = "no more than" if last["ssim"] <= last["other_ssim"] else "more than"
        parts.append(
            f"{heading(dataset)} {decimal(last['ssim'], 2)}, {verdict} between maps of different scans "
            f"({decimal(last['other_ssim'], 2)})"
        )
    if not parts:
        return paragraph("No model was randomised.")
    return paragraph(
        "With all weights randomised, Grad-CAM keeps this similarity (SSIM) with the trained model’s map: "
        f"{'; '.join(parts)}."
    )


def of_logits(logits: np.ndarray, classes: Sequence[str], name: str, grid: Sequence[int]) -> str:
    """The logit of a class beside those of the others, (classes,), and the shape (h, w, C) they are computed from."""
    values = dict(zip(classes, np.ravel(logits), strict=True))
    others = [f"{title(other)} {decimal(value, 2)}" for other, value in values.items() if other != name]
    height, width, channels = grid
    return paragraph(
        f"The logit of {title(name)} is {decimal(values[name], 2)}"
        + (f"; the others are {listed(others)}." if others else "."),
        f"It is computed from {counted(channels, 'channel')} of {height} × {width} cells.",
    )


def of_weights(weights: np.ndarray, activations: np.ndarray) -> str:
    """How the channels of one scan's Grad-CAM share the evidence; weights (C,), activations (h, w, C)."""
    weights, positive = np.ravel(weights), int((np.ravel(weights) > 0).sum())
    evidence = weights * activations.mean(axis=(0, 1))
    order = np.argsort(evidence)[::-1]
    gained = np.maximum(evidence, 0)
    answer = (
        f"{positive} of {counted(len(weights), 'channel')} have a positive weight: they are evidence for the class."
    )
    if not gained.sum():
        return paragraph(answer, "None of them is active in this scan.")
    half = int((np.cumsum(gained[order]) < gained.sum() / 2).sum()) + 1
    return paragraph(
        answer, f"The strongest {counted(half, 'channel')} hold{'s' * (half == 1)} half of the evidence for it."
    )


def of_map(point: np.ndarray, edges: np.ndarray, overlap: float) -> str:
    """Whether one map points into a box: point (x, y), edges (N, 4), as shares; overlap is the IoU of both."""
    x, y = np.ravel(point)
    place = f"The map is highest at {x:.0%} of the width and {y:.0%} of the height"
    if not len(edges):
        return paragraph(f"{place}; this scan has no known box.")
    inside = bool(((edges[:, 0] <= x) & (x < edges[:, 2]) & (edges[:, 1] <= y) & (y < edges[:, 3])).any())
    return paragraph(
        f"{place}, {'inside' if inside else 'outside'} the box.", f"The overlap (IoU) is {decimal(overlap, 2)}."
    )


def of_agreement(maps: Mapping[str, np.ndarray]) -> str:
    """How similar several maps of one scan are: {title: float (H, W)}, the first against each of the others."""
    (name, first), *others = maps.items()
    alike = [f"{beside} {decimal(_correlation(first, other), 2)}" for beside, other in others]
    return paragraph(f"Correlation with the map of {name}: {listed(alike)}.")


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if not np.ptp(one) or not np.ptp(other):
        return float("nan")
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])
