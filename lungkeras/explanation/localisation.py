"""Do heat maps point at the findings? Maps are scored against known boxes, next to baselines that see no scan.

A finding is a class that a test scan has, with one box or more. Its map is scored by

    hit      the pointing game: does the centre of the map's highest cell lie inside a box?
    iou      intersection over union of the area above half of the maximum with the union of the boxes

A map can only name the centre of one of its cells, so its baselines use the same grid: `random`, any cell with equal
probability (for IoU, grids of noise); `prior`, for each class the share of other patients' boxes that hold the centre
of a cell, whose maximum is the best point without seeing the scan; and `ceiling`, whether any cell lies in a box, the
hit rate of the best possible map on that grid.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lungkeras.evaluation.paper.published import published_boxes
from lungkeras.explanation.boxed_findings import boxed_findings, load_boxes  # noqa: F401 (notebooks load them here)
from lungkeras.explanation.gradcam import METHODS as EXPLANATIONS
from lungkeras.explanation.gradcam import enlarged, explained_layer, heat_maps
from lungkeras.explanation.pointing import hitting_cells, mask, overlap, pointing_game, points
from lungkeras.preparation.folder import Prepared
from lungkeras.scores import intervals, share_intervals
from lungkeras.study.runs import Run
from lungkeras.study.words import heading

METHODS = tuple(EXPLANATIONS)
BASELINES = PRIOR, RANDOM, CEILING = "prior", "random", "ceiling"
RANDOMISED = "randomised"  # in place of a run's name: the weights of the best model, randomised
MOST_SCANS = 400  # of a dataset's test split: with 100, an interval is about as wide as the gain
OVERLAPS = (0.1, 0.3, 0.5)
NOISE_MAPS = 20  # for each finding
ALL = "all"
IOUS = tuple(f"iou_{str(least).replace('.', '')}" for least in OVERLAPS)
KEYS = ["dataset", "run", "method", "cells", "class"]
SCORED = [*KEYS, "scan", "patient", "hit", "iou", *IOUS, "empty", "prior_hit"]
SUMMARY = ["dataset", "run", "method", "chosen", "class", "findings", "patients", "boxed", "cells"]
SUMMARY += ["hit", "hit_low", "hit_high", "above_prior", "above_prior_low", "above_prior_high", "iou", *IOUS]
SUMMARY += ["empty", *(f"published_{name}" for name in IOUS)]


def prior_maps(
    prepared: Prepared, boxes: pd.DataFrame, findings: pd.DataFrame, grid: tuple[int, int]
) -> np.ndarray:  # fmt: skip
    """The best map for each finding without seeing its scan: float32 (N, h, w); NaN if unknown.

    It is the share of boxed findings of its class in the other splits that hold the centre of a cell. If those have
    none (the published test list of xray8 holds all boxes), the test patients are divided into halves, and each half's
    findings get the map of the other half.
    """
    others = pd.concat([boxed_findings(prepared, boxes, split) for split in ("train", "val")])
    patients = sorted(set(findings["patient"]))
    second = set(np.random.default_rng(0).permutation(patients)[len(patients) // 2 :])
    half = findings["patient"].isin(second).to_numpy()
    maps = np.full((len(findings), *grid), np.nan, np.float32)
    for name in findings["class"].unique():
        own = (findings["class"] == name).to_numpy()
        known = others.loc[others["class"] == name, "edges"]
        if len(known):
            maps[own] = _share(known, grid)
            continue
        for asked in (half, ~half):
            if (own & asked).any() and (own & ~asked).any():
                maps[own & asked] = _share(findings.loc[own & ~asked, "edges"], grid)
    return maps


def _share(edges: Sequence[np.ndarray], grid: tuple[int, int]) -> np.ndarray:
    return np.mean([hitting_cells(own, grid) for own in edges], axis=0)


def localise(
    models: Mapping[str, object],
    prepared: Prepared,
    boxes: pd.DataFrame,
    *,
    most: int = MOST_SCANS,
    seed: int = 0,
) -> pd.DataFrame:
    """Maps against the boxes of the test split, and the baselines on their grid: one row per finding, with SCORED.

    Args:
        models: {run: keras.Model}; RANDOMISED may replace a run.
        most: scans, drawn by `seed` if more have boxes.

    `run` is empty for the BASELINES, which exist for each grid of maps; hit and iou_* of random are its expected
    values, and the ceiling has no iou. prior_hit repeats the prior's hit on the same grid and finding. No rows if no
    scan of the test split has a box.
    """
    findings = boxed_findings(prepared, boxes)
    scans = findings["scan"].unique()
    kept = np.random.default_rng(seed).permutation(len(scans))[:most]
    findings = findings[findings["scan"].isin(scans[kept])].reset_index(drop=True)
    if findings.empty or not models:
        return pd.DataFrame(columns=SCORED)
    edges, shape = findings["edges"].tolist(), (prepared.size, prepared.size)
    about = findings[["class", "scan", "patient"]].assign(dataset=prepared.name, run="")
    grids = {run: cells(model) for run, model in models.items()}
    beside = {grid: _baselines(prepared, boxes, findings, grid, seed) for grid in dict.fromkeys(grids.values())}
    parts = [
        about.assign(method=method, cells=grid_title(grid), prior_hit=found[PRIOR]["hit"], **scored)
        for grid, found in beside.items()
        for method, scored in found.items()
    ]
    images = np.asarray(prepared.images["test"][findings["place"].to_numpy()])
    classes = [prepared.classes.index(name) for name in findings["class"]]
    for run, model in models.items():
        own = about.assign(run=run, cells=grid_title(grids[run]), prior_hit=beside[grids[run]][PRIOR]["hit"])
        for method, maps in heat_maps(model, images, classes, METHODS, enlarge=False).items():
            parts.append(own.assign(method=method, **_scored(maps, edges, shape)))
    return pd.concat(parts, ignore_index=True)[SCORED]


def _baselines(
    prepared: Prepared, boxes: pd.DataFrame, findings: pd.DataFrame, grid: tuple[int, int], seed: int
) -> dict[str, pd.DataFrame]:
    """{baseline: one row per finding}: the answers on a grid without a model."""
    edges, shape = findings["edges"].tolist(), (prepared.size, prepared.size)
    inside = np.stack([hitting_cells(own, grid) for own in edges])
    maps = prior_maps(prepared, boxes, findings, grid)
    prior = _scored(maps, edges, shape)
    prior.loc[np.isnan(maps).any(axis=(1, 2)), ["hit", "iou", *IOUS]] = np.nan
    noise = np.random.default_rng(seed).random((NOISE_MAPS, *grid), np.float32)
    drawn = pd.DataFrame([_scored(noise, [own] * NOISE_MAPS, shape).mean() for own in edges])
    ceiling = drawn.assign(hit=inside.any(axis=(1, 2)).astype(float), **dict.fromkeys(("iou", *IOUS), np.nan))
    return {PRIOR: prior, RANDOM: drawn.assign(hit=inside.mean(axis=(1, 2))), CEILING: ceiling}


def cells(model) -> tuple[int, int]:
    """The grid of a model's maps: rows, columns."""
    return tuple(explained_layer(model).output.shape[1:3])


def grid_title(grid: tuple[int, int]) -> str:
    """A grid as tables name it: "8 × 8"."""
    return "{} × {}".format(*grid)


def _scored(maps: np.ndarray, edges: Sequence[np.ndarray], shape: tuple[int, int]) -> pd.DataFrame:
    empty = ~(maps.max(axis=(1, 2)) > 0)
    iou = overlap(enlarged(maps, shape), np.stack([mask(own, shape) for own in edges]))
    passed = {name: (iou > least).astype(float) for name, least in zip(IOUS, OVERLAPS, strict=True)}
    hit = pointing_game(maps, edges).astype(float)
    return pd.DataFrame({"hit": hit, "iou": iou, **passed, "empty": empty.astype(float)})


def summary(scored: pd.DataFrame, prepared: Prepared, boxes: pd.DataFrame, chosen: str = "") -> pd.DataFrame:
    """The summary of `localise`: one row per run, method, grid and class, and one for all classes, with SUMMARY.

    Shares are means over findings, with 95 % intervals: of the hit rate Wilson's, of above_prior, the hit rate less the
    prior's on the same findings and grid, that of paired shares, both for findings clustered in patients; none for a
    class of fewer than ten patients; boxed counts the findings with boxes in the whole test split, `findings`
    those evaluated; cells is the grid of the maps; published_* are given for the classes of xray8 that others report. A
    dataset whose test split has no box has one row, with 0 findings.
    """
    counts = boxed_findings(prepared, boxes)["class"].value_counts()
    rows = []
    for (run, method, grid), own in scored.groupby(["run", "method", "cells"], sort=False):
        for name in (ALL, *(known for known in prepared.classes if known in counts)):
            part = own if name == ALL else own[own["class"] == name]
            rows.append(
                {
                    "dataset": prepared.name,
                    "run": run,
                    "method": method,
                    "chosen": run == chosen,
                    "class": name,
                    "findings": len(part),
                    "patients": part["patient"].nunique(),
                    "boxed": int(counts.sum() if name == ALL else counts[name]),
                    "cells": grid,
                    **_shares(part, few=name != ALL and part["patient"].nunique() < intervals.FEWEST_PATIENTS),
                    **_published(prepared.name, name),
                }
            )
    if not rows:
        nothing = {"dataset": prepared.name, "run": "", "method": "", "chosen": False, "class": ALL, "cells": ""}
        rows = [nothing | dict.fromkeys(("findings", "patients", "boxed"), 0)]
    return pd.DataFrame(rows).reindex(columns=SUMMARY)


def _shares(part: pd.DataFrame, *, few: bool) -> dict[str, float]:
    if part.empty:
        return {}
    shares = part[["hit", "iou", *IOUS, "empty"]].mean().to_dict()
    shares["above_prior"] = float((part["hit"] - part["prior_hit"]).mean())
    known = part[part["prior_hit"].notna() & part["hit"].notna()]
    nothing = (float("nan"), float("nan"))
    spans = {"hit": nothing, "above_prior": nothing}
    if not few and len(known):
        spans["above_prior"] = share_intervals.paired_share_interval(known["hit"], known["prior_hit"], known["patient"])
    if not few and (defined := part[part["hit"].notna()]).size:
        spans["hit"] = share_intervals.share_interval(defined["hit"], defined["patient"])
    if (part["method"] == PRIOR).all():
        spans["above_prior"] = nothing
    return shares | {
        f"{name}_{end}": span[place] for name, span in spans.items() for place, end in enumerate(("low", "high"))
    }


def _published(dataset: str, name: str) -> dict[str, float]:
    found = published_boxes().get(name, []) if dataset == "xray8" else []
    return {f"published_{key}": value for key, value in zip(IOUS, found, strict=False)}


def examples(model, prepared: Prepared, boxes: pd.DataFrame, most: int = 4, seed: int = 0) -> list[dict]:
    """Some boxed findings of the test split under their Grad-CAM maps, the classes in turn, drawn by `seed`.

    Each is {title, scan uint8 (H, W), map float32 (H, W), point (x, y), edges (N, 4)}, the last two as shares, as drawn
    by explanation_figures.pointing.
    """
    findings = boxed_findings(prepared, boxes)
    findings = findings.iloc[np.random.default_rng(seed).permutation(len(findings))]
    turn = findings.groupby("class").cumcount()
    findings = findings.assign(turn=turn, order=findings["class"].map(prepared.classes.index))
    chosen = findings.sort_values(["turn", "order"]).head(most)
    if chosen.empty:
        return []
    scans = np.asarray(prepared.images["test"][chosen["place"].to_numpy()])
    classes = [prepared.classes.index(name) for name in chosen["class"]]
    maps = heat_maps(model, scans, classes, ("grad_cam",), enlarge=False)["grad_cam"]
    titles = [heading(name) for name in chosen["class"]]
    parts = (titles, scans, enlarged(maps, scans.shape[1:]), points(maps), chosen["edges"])
    return [
        dict(zip(("title", "scan", "map", "point", "edges"), part, strict=True)) for part in zip(*parts, strict=True)
    ]


def localise_study(
    models: Mapping[str, object],
    runs: Mapping[str, Run],
    data: Mapping[str, Prepared],
    boxes: Mapping[str, pd.DataFrame],
    randomised: Mapping[str, object],
    *,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, list[dict]]]:
    """(rows of `localise`, rows of `summary`, {dataset: `examples`}) of all datasets of a study.

    models and runs by the run's name, data and boxes by the dataset's. `randomised` holds, by its run's name, the model
    with the highest validation score of each dataset with new weights (`randomisation.renewed`): it is scored as
    RANDOMISED, and that run itself provides the examples.
    """
    scored, summaries, shown = [], [], {}
    for dataset, prepared in data.items():
        asked = {name: models[name] for name, run in runs.items() if run.dataset == dataset}
        chosen = next(name for name in asked if name in randomised)
        asked[RANDOMISED] = randomised[chosen]
        if len(boxed_findings(prepared, boxes[dataset])):
            shown[dataset] = examples(models[chosen], prepared, boxes[dataset], seed=seed)
        scored.append(localise(asked, prepared, boxes[dataset], seed=seed))
        summaries.append(summary(scored[-1], prepared, boxes[dataset], chosen))
    found = [part for part in scored if len(part)] or scored
    return pd.concat(found, ignore_index=True), pd.concat(summaries, ignore_index=True), shown


def over_all(located: pd.DataFrame) -> pd.DataFrame:
    """The rows of a summary for all classes together."""
    return located[located["class"] == ALL]


def by_class(located: pd.DataFrame) -> pd.DataFrame:
    """The rows of a summary for single classes, and those of datasets without boxes."""
    return located[(located["class"] != ALL) | (located["findings"] == 0)]
