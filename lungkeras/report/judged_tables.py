"""The tables of a judgement on its page: one function per CSV, with the same name."""

import pandas as pd

from lungkeras.evaluation.comparison import SIGNIFICANT
from lungkeras.report.grid import NUMBER, UNDEFINED, Column, grid, spanned, with_span
from lungkeras.study.words import heading

BASELINES = {
    "majority": "the more frequent answer",
    "every class": "every finding on every scan",
    "metadata": "metadata alone",
}


def _value(key: str, title: str, places: int = 3) -> list[Column]:
    return [Column(key, "value", places, title, UNDEFINED), Column(f"{key}_span", "95 % interval", NUMBER, title)]


def _predictor(row: pd.Series) -> str:
    return row["predictor"]


SCORES = {"auroc": "AUROC", "f1": "F1", "average_precision": "average precision", "sensitivity": "sensitivity"}
SCORES |= {"specificity": "specificity"}


def scores(frame: pd.DataFrame) -> dict:
    """One row per predictor."""
    names = {f"macro_{key}": title for key, title in SCORES.items()}
    columns = [Column("predictor", "predictor"), *(Column(name, title, NUMBER) for name, title in names.items())]
    return grid(_with_spans(frame, names), columns)


def class_scores(frame: pd.DataFrame) -> dict:
    """One group per predictor, one row per class."""
    columns = [Column("name", "class"), Column("scans", "scans", 0), Column("support", "with it", 0)]
    columns += [Column(name, title, NUMBER) for name, title in SCORES.items()]
    return grid(_with_spans(_named(frame), SCORES), columns, group=_predictor)


def _with_spans(frame: pd.DataFrame, names) -> pd.DataFrame:
    """Each score as 0.81 (0.79–0.83)."""
    frame = spanned(frame, *names, places=2, few=True)
    texts = {
        name: [with_span(*cell) for cell in zip(frame[name], frame[f"{name}_span"], strict=True)] for name in names
    }
    return frame.assign(**texts)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(name=[heading(name) if name else "all classes" for name in frame["class"]])


def pairs(frame: pd.DataFrame) -> dict:
    frame = frame.assign(
        name=frame["first"] + " − " + frame["second"], f1_low=frame["low"], f1_high=frame["high"],
        p_text=frame["p_holm"].map(p_text), auroc_p_text=frame["auroc_p_holm"].map(p_text),
    )  # fmt: skip
    columns = [Column("name", "predictors"), Column("auroc_difference", "difference", 3, "macro AUROC", UNDEFINED)]
    columns += [Column("auroc_span", "95 % interval", NUMBER, "macro AUROC")]
    columns += [Column("auroc_p_text", "p", NUMBER, "macro AUROC")]
    columns += [Column("difference", "difference", 3, "macro F1", UNDEFINED)]
    columns += [Column("f1_span", "95 % interval", NUMBER, "macro F1"), Column("p_text", "p", NUMBER, "macro F1")]
    return grid(spanned(frame, "f1", "auroc"), columns, strong=lambda row: row["auroc_p_holm"] < SIGNIFICANT)


def claims(frame: pd.DataFrame) -> dict:
    rests = [". ".join(part for part in (row.reason, row.figures) if part) for row in frame.itertuples()]
    columns = [Column("claim", "claim"), Column("predicate", "predicate"), Column("verdict", "verdict", NUMBER)]
    columns += [Column("share_true", "true in", 2), Column("rests", "what the verdict rests on")]
    return grid(frame.assign(rests=rests), columns)


def calibration(frame: pd.DataFrame) -> dict:
    scores = [name for name in ("ece", "ece_scaled") if name in frame]
    columns = [Column("name", "class"), Column("temperature", "temperature", 2), *_value("ece", "error, as given")]
    columns += _value("ece_scaled", "error, after the temperature")
    columns += [Column("brier", "as given", 3, "Brier score"), Column("brier_scaled", "after", 3, "Brier score")]
    return grid(spanned(_named(frame), *scores, few=True), columns, group=_predictor)


def thresholds(frame: pd.DataFrame) -> dict:
    columns = [Column("name", "class"), Column("threshold", "threshold", 3)]
    columns += [*_value("f1", "F1 at 0.5"), *_value("f1_tuned", "F1 at the threshold")]
    columns += [Column(f"{name}_tuned", name, 2, "at the threshold") for name in ("sensitivity", "specificity")]
    return grid(spanned(_named(frame), "f1", "f1_tuned", few=True), columns, group=_predictor)


def operating_points(frame: pd.DataFrame) -> dict:
    frame = frame.assign(name=[f"{heading(row['class'])}, at {row['asked']:.0%}" for _, row in frame.iterrows()])
    columns = [Column("name", "class, specificity asked"), Column("threshold", "threshold", 3)]
    columns += [*_value("sensitivity", "sensitivity", 2), *_value("specificity", "specificity", 2)]
    values = {f"{value}_{name}": f"{value.upper()} at {name} %" for name in ("1", "10") for value in ("ppv", "npv")}
    for name, words in values.items():
        columns += _value(name, words, 2)
    return grid(spanned(frame, "sensitivity", "specificity", *values, places=2, few=True), columns, group=_predictor)


def groups(frame: pd.DataFrame) -> dict:
    scores = ("macro_auroc", "macro_f1")
    frame = frame.reindex(
        columns=list(dict.fromkeys([*frame, *(f"{s}{e}" for s in scores for e in ("", "_low", "_high"))]))
    )
    columns = [Column("group", "group"), Column("scans", "scans", 0), Column("patients", "patients", 0)]
    columns += [
        Column("classes", "classes", 0),
        Column("macro_auroc", "value", 3, "macro AUROC"),
        Column("macro_auroc_span", "95 % interval", NUMBER, "macro AUROC"),
    ]
    columns += [
        Column("macro_f1", "value", 3, "macro F1"),
        Column("macro_f1_span", "95 % interval", NUMBER, "macro F1"),
    ]
    columns.append(Column("note", "note"))
    return grid(spanned(frame, *scores), columns, group=lambda row: f"{row['predictor']}, by {row['attribute']}")


def image_gain(frame: pd.DataFrame) -> dict:
    columns = [Column("name", "class"), Column("image_auroc", "prediction alone", 3, "AUROC", UNDEFINED)]
    columns += [Column("metadata_auroc", "metadata alone", 3, "AUROC", UNDEFINED)]
    columns += [Column("both_auroc", "both", 3, "AUROC", UNDEFINED), *_value("gain", "the image adds")]
    group = lambda row: f"{row['predictor']}, beside {row['metadata']}"  # noqa: E731
    return grid(spanned(_named(frame), "gain", few=True), columns, group=group)


def baselines(frame: pd.DataFrame) -> dict:
    frame = frame.assign(
        name=frame["baseline"].map(BASELINES),
        f1_low=frame["low"],
        f1_high=frame["high"],
        p_text=frame["p_holm"].map(p_text),
    )
    columns = [Column("name", "baseline"), Column("macro_f1", "prediction", 3, "macro F1", UNDEFINED)]
    columns += [Column("baseline_macro_f1", "baseline", 3, "macro F1", UNDEFINED)]
    columns += [Column("difference", "difference", 3, "macro F1", UNDEFINED)]
    columns += [Column("f1_span", "95 % interval", NUMBER, "macro F1"), Column("p_text", "p", NUMBER, "macro F1")]
    columns += [Column("auroc_difference", "difference", 3, "macro AUROC", UNDEFINED)]
    columns += [Column("auroc_span", "95 % interval", NUMBER, "macro AUROC")]
    return grid(spanned(frame, "f1", "auroc"), columns, group=_predictor, strong=lambda row: row["better"] == "yes")


def understood(frame: pd.DataFrame) -> dict:
    columns = [Column("column", "column"), Column("meaning", "is understood as")]
    return grid(frame, columns, group=lambda row: row["file"])


def labels(frame: pd.DataFrame) -> dict:
    columns = [Column("name", "class"), *(Column(name, name, 0) for name in frame if name != "class")]
    return grid(_named(frame), columns)


def p_text(value: float) -> str:
    return "–" if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
