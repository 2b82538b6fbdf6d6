"""The tests of explanations in the report: tables/localisation.csv and tables/randomisation.csv -> grids."""

from __future__ import annotations

import pandas as pd

from lungkeras.explanation.localisation import ALL, BASELINES, CEILING, PRIOR, RANDOM, RANDOMISED
from lungkeras.report.figures.explanations import METHOD_TITLES, method_title, model_title
from lungkeras.report.grid import NUMBER, Column, anchor, grid, span, table
from lungkeras.scores.intervals import TOO_FEW
from lungkeras.study.words import decimal, heading, run_name_title

UNANSWERED = "no box is known of its test scans: can’t be answered"


@table
def localisation(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per model and method or baseline, over all findings."""
    frame = frame[frame["class"] == ALL].fillna({"run": "", "method": "", "cells": ""})
    frame = frame.assign(
        name=[_row_title(row) for row in frame.itertuples()],
        hit_span=[span(row.hit_low, row.hit_high, 2) for row in frame.itertuples()],
        above_span=[
            "–" if row.method == PRIOR else span(row.above_prior_low, row.above_prior_high, 2)
            for row in frame.itertuples()
        ],
        findings_text=[_of(row.findings, row.boxed) for row in frame.itertuples()],
    )
    frame.loc[frame["method"] == PRIOR, "above_prior"] = float("nan")
    columns = [
        Column("name", "model"),
        Column("cells", "cells of a map", NUMBER),
        Column("findings_text", "findings", NUMBER),
        Column("hit", "share", 2, "points into a box"),
        Column("hit_span", "95 % interval", NUMBER, "points into a box"),
        Column("above_prior", "difference", 2, "less the best fixed point"),
        Column("above_span", "95 % interval", NUMBER, "less the best fixed point"),
        *(Column(f"iou_0{tenth}", f"> 0.{tenth}", 2, "IoU with the boxes") for tenth in (1, 3, 5)),
        Column("empty", "empty maps", 2),
    ]
    known = frame["run"].where(frame["run"] != RANDOMISED, "")
    return grid(
        frame.assign(linked=known),
        columns,
        group=lambda row: heading(row["dataset"]),
        link=lambda row: "#" + anchor(row["linked"]) if row["linked"] else "",
        strong=lambda row: row["above_prior_low"] > 0 and row["method"] not in BASELINES,
    )


@table
def localisation_classes(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per class: Grad-CAM of the chosen model, the baselines, and Wang 2017."""
    frame = frame.fillna({"run": "", "method": "", "cells": ""})
    keys = ["dataset", "cells", "class"]
    own = frame[(frame["chosen"].astype(bool) & (frame["method"] == "grad_cam")) | (frame["findings"] == 0)]
    rows = own.assign(
        name=[heading(row["class"]) if row["findings"] else UNANSWERED for _, row in own.iterrows()],
        text=[_with_span(row) for row in own.itertuples()],
    )
    for method in BASELINES:
        beside = frame.loc[frame["method"] == method, [*keys, "hit"]].rename(columns={"hit": method})
        rows = rows.merge(beside, on=keys, how="left", sort=False)
    columns = [
        Column("name", "class"),
        Column("cells", "cells of a map", NUMBER),
        Column("findings", "findings", 0),
        Column("text", "Grad-CAM", NUMBER, "points into a box"),
        Column(PRIOR, METHOD_TITLES[PRIOR], 2, "points into a box"),
        Column(RANDOM, "at random", 2, "points into a box"),
        Column(CEILING, METHOD_TITLES[CEILING], 2, "points into a box"),
    ]
    for tenth in (1, 3, 5):
        columns += [
            Column(f"iou_0{tenth}", "here", 2, f"IoU > 0.{tenth}"),
            Column(f"published_iou_0{tenth}", "Wang 2017", 2, f"IoU > 0.{tenth}"),
        ]
    columns = [
        column
        for column in columns
        if not column.key.startswith("published") or (column.key in rows and rows[column.key].notna().any())
    ]
    return grid(
        rows, columns, group=lambda row: ": ".join(filter(None, (heading(row["dataset"]), run_name_title(row["run"]))))
    )


@table
def randomisation(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per step, from the trained model to random weights; last, maps of other scans."""
    keys = ["dataset", "run", "scans", "step", "stage"]
    frame = frame.assign(span=[span(row.ssim_low, row.ssim_high, 2) for row in frame.itertuples()])
    others = frame[frame["step"] == frame.groupby("dataset")["step"].transform("max")].assign(
        stage="maps of other scans", step=len(frame), span="–"
    )
    others[["ssim", "rank_correlation"]] = others[["other_ssim", "other_rank_correlation"]].to_numpy()
    frame = pd.concat([frame, others])
    rows = frame[keys].drop_duplicates()
    columns = [Column("stage", "randomised down to")]
    for method in dict.fromkeys(frame["method"]):
        own = frame.loc[frame["method"] == method, [*keys, "ssim", "span", "rank_correlation"]]
        named = {name: f"{method}_{name}" for name in ("ssim", "span", "rank_correlation")}
        rows = rows.merge(own.rename(columns=named), on=keys, how="left", sort=False)
        columns += [
            Column(f"{method}_ssim", "SSIM", 2, method_title(method)),
            Column(f"{method}_span", "95 % interval", NUMBER, method_title(method)),
            Column(f"{method}_rank_correlation", "rank correlation", 2, method_title(method)),
        ]
    return grid(
        rows,
        columns,
        group=lambda row: f"{heading(row['dataset'])}: {run_name_title(row['run'])}, {row['scans']} scans",
    )


def _row_title(row) -> str:
    if not row.method:
        return UNANSWERED
    return method_title(row.method) if not row.run else f"{model_title(row.run)}, {method_title(row.method)}"


def _of(findings: float, boxed: float) -> str:
    return f"{findings:.0f}" if findings == boxed else f"{findings:.0f} of {boxed:.0f}"


def _with_span(row) -> str:
    if not row.findings:
        return "–"
    return f"{decimal(row.hit, 2)} ({TOO_FEW if pd.isna(row.hit_low) else span(row.hit_low, row.hit_high, 2)})"
