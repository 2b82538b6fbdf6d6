"""The report's tables that compare models: with each other, with baselines, seed by seed, class by class."""

import pandas as pd

from lungkeras.evaluation.comparison import NO_LABELS, SIGNIFICANT
from lungkeras.evaluation.paper.published import published
from lungkeras.report.grid import NUMBER, UNDEFINED, Column, anchor, by_model, grid, spanned, table, with_span
from lungkeras.report.tables import BASELINES
from lungkeras.study.runs import ABLATION, REPEAT
from lungkeras.study.words import heading, run_name_title, run_title


@table
def model_pairs(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per pair of models."""
    frame = frame.assign(
        name=frame["first"].map(run_name_title), less=frame["second"].map(run_name_title),
        f1_low=frame["low"], f1_high=frame["high"],
    )  # fmt: skip
    for key in ("p_holm", "auroc_p_holm"):
        frame[f"{key}_text"] = ["–" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}" for p in frame[key]]
    columns = [
        Column("name", "model", run="first"),
        Column("less", "less", run="second"),
        Column("difference", "difference", 3, "macro F1", UNDEFINED),
        Column("f1_span", "95 % interval", NUMBER, "macro F1"),
        Column("p_holm_text", "p", NUMBER, "macro F1"),
        Column("auroc_difference", "difference", 3, "macro AUROC"),
        Column("auroc_span", "95 % interval", NUMBER, "macro AUROC"),
        Column("auroc_p_holm_text", "p", NUMBER, "macro AUROC"),
    ]
    return grid(
        spanned(frame, "f1", "auroc"),
        columns,
        group=lambda row: heading(row["dataset"]),
        strong=lambda row: row["p_holm"] < SIGNIFICANT,
    )


@table
def class_scores(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per class, one column per model: AUROC with its interval."""
    frame = frame[~frame["run"].str.contains(ABLATION) & ~frame["run"].str.contains(REPEAT)]
    frame = spanned(frame, "auroc", places=2, few=True)
    frame = frame.assign(
        text=[
            NO_LABELS if getattr(row, "note", "") == NO_LABELS else with_span(row.auroc, row.auroc_span)
            for row in frame.itertuples()
        ],
        model=frame["run"].map(run_name_title),
    )
    models = list(dict.fromkeys(frame["model"]))
    # The groups keep the order of the classes, which a pivot table does not.
    known = frame.groupby("dataset")["known"] if "known" in frame else None
    partly = known is not None and (known.min() < known.max()).any()
    counts = ["support", "prevalence", *(["known"] if partly else [])]
    wide = frame.groupby(["dataset", "class"], sort=False)[counts].first()
    wide = wide.join(by_model(frame, ["dataset", "class"])).reset_index()
    columns = [Column("name", "class"), Column("support", "test scans", 0), Column("known", "labels known", 0)]
    columns += [Column("prevalence", "share", 2)]
    columns += [Column(model, model, NUMBER, "AUROC (95 % interval)", run=f"{model} run") for model in models]
    return grid(wide.assign(name=wide["class"].map(heading)), columns, group=lambda row: heading(row["dataset"]))


@table
def prevalence(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per run."""
    columns = [
        Column("name", "model"),
        Column("normal_share", "test split", 2, "share of normal scans"),
        Column("natural_share", "among the classes", 2, "share of normal scans"),
        Column("list_share", "whole list", 2, "share of normal scans"),
        Column("macro_f1", "as tested", 3, "macro F1", UNDEFINED),
        Column("macro_f1_natural", "re-weighted", 3, "macro F1", UNDEFINED),
        Column("macro_f1_natural_span", "95 % interval", NUMBER, "macro F1"),
    ]
    return grid(
        spanned(frame.assign(name=frame["run"].map(run_name_title)), "macro_f1_natural"),
        columns,
        group=lambda row: heading(row["dataset"]),
        link=lambda row: "#" + anchor(row["run"]),
    )


@table
def published_auroc(frame: pd.DataFrame) -> dict:
    """One row per class of ChestX-ray8, ours with their intervals, then those of others."""
    runs = [name.removesuffix("_low") for name in frame if name.endswith("_low")]
    frame = spanned(frame.assign(name=frame["class"].map(heading)), *runs, places=2, few=True)
    for run in runs:
        frame[run] = [with_span(score, span) for score, span in zip(frame[run], frame[f"{run}_span"], strict=True)]
    others = published()["auroc"]["publications"]
    columns = [Column("name", "class"), *(_of_run(run, run, "here") for run in runs)]
    columns += [Column(name, text, 3, "published") for name, text in others.items()]
    return grid(frame, columns)


@table
def transfer(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per run of pretrained weights."""
    frame = frame.assign(
        name=frame["run"].map(run_name_title),
        source=[" and ".join(map(heading, str(names).split())) for names in frame["sources"].fillna("")],
    )
    columns = [
        Column("name", "model"),
        Column("source", "also learned from"),
        Column("test_scans", "all", 0, "test scans"),
        Column("copies", "copies of what was learned", 0, "test scans", "unknown"),
        Column("macro_f1", "all", 3, "macro F1", UNDEFINED),
        Column("macro_f1_span", "95 % interval", NUMBER, "macro F1"),
        Column("macro_f1_without", "without copies", 3, "macro F1"),
        Column("macro_f1_without_span", "95 % interval", NUMBER, "macro F1"),
        Column("note", "note"),
    ]
    return grid(
        spanned(frame, "macro_f1", "macro_f1_without"),
        columns,
        group=lambda row: heading(row["dataset"]),
        link=lambda row: "#" + anchor(row["run"]),
    )


@table
def seeds(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per repeated run."""
    frame = frame.assign(name=frame["run"].map(run_name_title))
    columns = [Column("name", "model", run="run"), Column("seeds", "seeds", 0)]
    columns += [
        Column(f"{key}_{kind}", title, places, over)
        for key, places, over in (("macro_f1", 3, "macro F1"), ("best_epoch", 1, "best epoch"))
        for kind, title in (("mean", "mean"), ("least", "least"), ("most", "most"))
    ]
    return grid(frame, columns, group=lambda row: heading(row["dataset"]))


@table
def baselines(frame: pd.DataFrame) -> dict:
    """One row per dataset."""
    frame = frame.assign(
        name=frame["dataset"].map(heading),
        model=[run_title(row.backbone, row.weights) for row in frame.itertuples()],
    )
    if "published_run" in frame:
        frame["paper"] = [run_name_title(run) if isinstance(run, str) else "–" for run in frame["published_run"]]
    columns = [
        Column("name", "dataset"),
        Column("model", "chosen on validation"),
        Column("macro_f1", "model", 3, "macro F1 here"),
        Column("linear_macro_f1", "linear", 3, "macro F1 here"),
        Column("difference", "difference", 3, "macro F1 here"),
        Column("paper", "highest in the paper"),
        Column("published_macro_f1", "macro F1, paper", 3),
    ]
    return grid(frame, columns, link=lambda row: "#" + anchor(row["run"]))


@table
def against_baselines(frame: pd.DataFrame) -> dict:
    """One group per dataset and baseline, one row per run: whether it is significantly better, by the paired test."""
    frame = frame.assign(
        name=frame["run"].map(run_name_title), f1_low=frame["low"], f1_high=frame["high"],
        p_text=["–" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}" for p in frame["p_holm"]],
    )  # fmt: skip
    columns = [
        Column("name", "model"),
        Column("macro_f1", "model", 3, "macro F1", UNDEFINED),
        Column("baseline_macro_f1", "baseline", 3, "macro F1", UNDEFINED),
        Column("difference", "difference", 3, "macro F1", UNDEFINED),
        Column("f1_span", "95 % interval", NUMBER, "macro F1"),
        Column("p_text", "p", NUMBER),
        Column("better", "significantly better", NUMBER),
    ]
    return grid(
        spanned(frame, "f1"),
        columns,
        group=lambda row: f"{heading(row['dataset'])} models against {BASELINES.get(row['baseline'], row['baseline'])}",
        link=lambda row: "#" + anchor(row["run"]),
        strong=lambda row: row["better"] == "yes",
    )


def _of_run(key: str, run: str, over: str) -> Column:
    """A column of one run, whose header links to its card."""
    return Column(key, run_name_title(run), NUMBER, over, link="#" + anchor(run))
