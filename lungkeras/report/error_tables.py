"""The report's tables on errors, other collections and groups."""

import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.report.grid import NUMBER, Column, anchor, by_model, grid, spanned, table
from lungkeras.study.runs import ABLATION, REPEAT
from lungkeras.study.words import decimal, heading, run_name_title


@table
def failure_counts(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per class, one column per model: missed, and wrongly called."""
    frame = frame[~frame["run"].str.contains(ABLATION) & ~frame["run"].str.contains(REPEAT)]
    frame = frame.assign(
        text=[f"{row.missed:,.0f} / {row.called:,.0f}" for row in frame.itertuples()],
        model=frame["run"].map(run_name_title),
    )
    models = list(dict.fromkeys(frame["model"]))
    wide = frame.groupby(["dataset", "class"], sort=False)[["scans"]].first()
    wide = wide.join(by_model(frame, ["dataset", "class"])).reset_index()
    columns = [Column("name", "class"), Column("scans", "test scans", 0)]
    columns += [Column(model, model, NUMBER, "missed / wrongly called", run=f"{model} run") for model in models]
    return grid(wide.assign(name=wide["class"].map(heading)), columns, group=lambda row: heading(row["dataset"]))


@table
def external_scans(frame: pd.DataFrame) -> dict:
    """One group per dataset of models and another collection, one row per class."""
    frame = frame.assign(name=[heading(name) if isinstance(name, str) else "–" for name in frame["class"]])
    columns = [
        Column("name", "class"),
        Column("scans", "all", 0, "its scans"),
        Column("allowed", "may be asked", 0, "its scans"),
        Column("copies", "copies of own", 0, "its scans"),
        Column("left", "left", 0, "its scans"),
        Column("note", "why"),
    ]
    return grid(frame, columns, group=_models_on)


@table
def external(frame: pd.DataFrame) -> dict:
    """One group per dataset and another collection, one row per run and measure, next to the run's own test split."""
    frame = frame.assign(
        name=frame["run"].map(run_name_title),
        title=[measure_title(*pair) for pair in zip(frame["measure"], frame["class"], strict=True)],
    ).rename(columns={f"{own}{end}": f"{own}value_{end}" for own in ("", "own_") for end in ("low", "high")})
    columns = [
        Column("name", "model"),
        Column("title", "measure"),
        Column("scans", "scans", 0, "other collection"),
        Column("value", "score", 3, "other collection"),
        Column("value_span", "95 % interval", NUMBER, "other collection"),
        Column("own_scans", "scans", 0, "own test split"),
        Column("own_value", "score", 3, "own test split"),
        Column("own_value_span", "95 % interval", NUMBER, "own test split"),
    ]
    return grid(
        spanned(frame, "value", "own_value", few=True),
        columns,
        group=_models_on,
        link=lambda row: "#" + anchor(row["run"]),
    )


def measure_title(measure: str, name: object) -> str:
    """ "recall", "normal" -> "recall of normal"; a macro score as tables call it."""
    words = {"macro_f1": "macro F1", "macro_auroc": "macro AUROC"}.get(measure, measure)
    return f"{words} of {title(name)}" if isinstance(name, str) and name else words


@table
def subgroups(frame: pd.DataFrame) -> dict:
    """One group per dataset and attribute, one row per group of test scans, one column per model: macro AUROC."""
    untold = frame[frame["run"].isna()]
    frame = spanned(frame[frame["run"].notna()], "macro_auroc", places=2)
    frame = frame.assign(
        text=[
            row.note
            if isinstance(row.note, str) and row.note
            else f"{decimal(row.macro_auroc, 2)} ({row.macro_auroc_span})"
            for row in frame.itertuples()
        ],
        model=frame["run"].map(run_name_title),
    )
    models, keys = list(dict.fromkeys(frame["model"])), ["dataset", "attribute", "group"]
    counted = frame.groupby(keys, sort=False)[["scans", "patients", "classes"]].first()
    if models:
        counted = counted.join(by_model(frame, keys))
    words = untold.groupby("dataset", sort=False)["attribute"].agg(", ".join).reset_index()
    words = words.assign(group=words["attribute"] + ": not recorded by the collection", attribute="")
    columns = [Column("group", "group"), Column("scans", "scans", 0), Column("patients", "patients", 0)]
    columns += [Column("classes", "classes", 0)]
    columns += [Column(model, model, NUMBER, "macro AUROC (95 % interval)", run=f"{model} run") for model in models]
    return grid(
        pd.concat([counted.reset_index(), words], ignore_index=True),
        columns,
        group=lambda row: heading(row["dataset"]) + (f", {row['attribute']}" if row["attribute"] else ""),
    )


def _models_on(row: pd.Series) -> str:
    """ "Pneumonia models on COVID-19"."""
    return f"{heading(row['dataset'])} models" + (
        f" on {heading(row['other'])}" if isinstance(row["other"], str) else ""
    )
