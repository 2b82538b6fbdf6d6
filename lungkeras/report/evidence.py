"""The report's tables on uncertainty and errors: one function per CSV, with the same name."""

import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.evaluation.comparison import NO_LABELS, SIGNIFICANT
from lungkeras.evaluation.paper.published import published
from lungkeras.report.grid import NUMBER, UNDEFINED, Column, anchor, grid, spanned, table, with_span
from lungkeras.report.tables import BASELINES
from lungkeras.study.runs import ABLATION, REPEAT
from lungkeras.study.words import decimal, heading, run_name_title, run_title


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
    wide = wide.join(_by_model(frame, ["dataset", "class"])).reset_index()
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
def calibration(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per run, before and after the correction."""
    frame = frame.assign(name=[run_title(row.backbone, row.weights) for row in frame.itertuples()])
    frame = spanned(frame, "ece", "ece_scaled")
    before, after = "calibration error, as trained", "calibration error, corrected"
    columns = [
        Column("name", "model"),
        Column("temperature", "temperature", 2),
        Column("ece", "error", 3, before, UNDEFINED),
        Column("ece_span", "95 % interval", NUMBER, before),
        Column("ece_null", "chance", 3, before),
        Column("ece_scaled", "error", 3, after, UNDEFINED),
        Column("ece_scaled_span", "95 % interval", NUMBER, after),
        Column("ece_scaled_null", "chance", 3, after),
        Column("ece_class", "trained", 3, "a class"),
        Column("ece_class_scaled", "corrected", 3, "a class"),
        Column("brier", "trained", 3, "Brier score"),
        Column("brier_scaled", "corrected", 3, "Brier score"),
    ]
    return grid(frame, columns, group=lambda row: heading(row["dataset"]), link=lambda row: "#" + anchor(row["run"]))


@table
def thresholds(frame: pd.DataFrame) -> dict:
    """One row per multilabel run: at one half, and at the thresholds chosen on validation."""
    frame = frame.assign(
        name=[run_title(row.backbone, row.weights) for row in frame.itertuples()],
        difference_low=frame["low"], difference_high=frame["high"],
    )  # fmt: skip
    frame = spanned(frame, "macro_f1", "macro_f1_tuned", "difference")
    half, chosen = "macro F1 at 0.5", "macro F1 at thresholds from validation"
    columns = [
        Column("name", "model"),
        Column("macro_f1", "value", 3, half),
        Column("macro_f1_span", "95 % interval", NUMBER, half),
        Column("macro_f1_tuned", "value", 3, chosen),
        Column("macro_f1_tuned_span", "95 % interval", NUMBER, chosen),
        Column("difference", "value", 3, "difference"),
        Column("difference_span", "95 % interval", NUMBER, "difference"),
        Column("contradictory", "at 0.5", 2, "no finding and a finding"),
        Column("contradictory_tuned", "at thresholds", 2, "no finding and a finding"),
    ]
    return grid(frame, columns, link=lambda row: "#" + anchor(row["run"]))


@table
def operating_points(frame: pd.DataFrame) -> dict:
    """One group per dataset, for the model chosen on validation; one row per class and specificity."""
    frame = frame[frame["chosen"].astype(bool)]
    frame = frame.assign(
        name=[f"{heading(row['class'])}, at {row['asked']:.0%}" for _, row in frame.iterrows()],
        model=frame["run"].map(run_name_title),
    )
    shares = ("sensitivity", "specificity", "balanced_accuracy")
    columns = [Column("name", "class, specificity asked", run="run"), Column("scans", "test scans", 0)]
    for key in shares:
        columns += [Column(key, "value", 2, key.replace("_", " "), UNDEFINED)]
        columns += [Column(f"{key}_span", "95 % interval", NUMBER, key.replace("_", " "))]
    values = [f"{value}_{name}" for name in ("1", "10") for value in ("ppv", "npv")]
    for key in values:
        value, _, name = key.partition("_")
        columns += [Column(key, "value", 2, f"{value.upper()} at {name} %", UNDEFINED)]
        columns += [Column(f"{key}_span", "95 % interval", NUMBER, f"{value.upper()} at {name} %")]
    return grid(
        spanned(frame, *shares, *values, places=2, few=True),
        columns,
        group=lambda row: f"{heading(row['dataset'])}: {row['model']}",
    )


@table
def claims(frame: pd.DataFrame) -> dict:
    """One row per claim."""
    paper = {"true": "holds", "false": "fails"}
    frame = frame.assign(
        paper=[paper.get(str(value).lower(), value) for value in frame["holds_in_paper"]],
        rests=[
            " ".join(str(part) + "." for part in (row.reason, row.figures) if isinstance(part, str) and part)
            for row in frame.itertuples()
        ],
    )
    columns = [
        Column("claim", "claim of the paper"),
        Column("paper", "its own tables", NUMBER),
        Column("verdict", "here", NUMBER),
        Column("share_true", "true in", 2),
        Column("rests", "what the verdict rests on"),
    ]
    return grid(frame, columns)


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
    wide = wide.join(_by_model(frame, ["dataset", "class"])).reset_index()
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
    return grid(frame, columns, group=_asked)


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
        group=_asked,
        link=lambda row: "#" + anchor(row["run"]),
    )


def _by_model(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A column of texts for each model, and next to it "<model> run", the run of that row's dataset."""
    texts, runs = (frame.pivot_table(name, keys, "model", "first") for name in ("text", "run"))
    return texts.join(runs.add_suffix(" run"))


def _of_run(key: str, run: str, over: str) -> Column:
    """A column of one run, whose header links to its card."""
    return Column(key, run_name_title(run), NUMBER, over, link="#" + anchor(run))


def _asked(row: pd.Series) -> str:
    """ "Pneumonia models on COVID-19"."""
    return f"{heading(row['dataset'])} models" + (
        f" on {heading(row['other'])}" if isinstance(row["other"], str) else ""
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
        counted = counted.join(_by_model(frame, keys))
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


@table
def checklists(frame: pd.DataFrame) -> dict:
    """One group per checklist, one row per item, which links to the section that answers it."""
    frame = frame.fillna("")
    columns = [Column("name", "item"), Column("answer", "where"), Column("note", "note")]
    return grid(
        frame.assign(name=frame["item"].astype(str) + " " + frame["topic"]),
        columns,
        group=lambda row: row["checklist"],
        link=lambda row: f"#{row['section']}" if row["section"] else "",
    )
