"""The report's tables on probabilities: calibration, thresholds and operating points."""

import pandas as pd

from lungkeras.report.grid import NUMBER, Column, anchor, grid, spanned, table, with_spans
from lungkeras.study.words import heading, run_name_title, run_title


@table
def calibration(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per run, before and after the correction."""
    frame = frame.assign(name=[run_title(row.backbone, row.weights) for row in frame.itertuples()])
    frame = with_spans(frame, "ece", "ece_scaled")
    before, after = "calibration error, as trained", "calibration error, corrected"
    columns = [
        Column("name", "model"),
        Column("temperature", "temperature", 2),
        Column("ece_text", "error (95 % interval)", NUMBER, before),
        Column("ece_null", "chance", 3, before),
        Column("ece_scaled_text", "error (95 % interval)", NUMBER, after),
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
    columns += [Column(f"{key}_text", key.replace("_", " "), NUMBER, "value (95 % interval)") for key in shares]
    values = [(value, name) for name in ("1", "10") for value in ("ppv", "npv")]
    columns += [
        Column(f"{value}_{name}_text", value.upper(), NUMBER, f"at a prevalence of {name} %") for value, name in values
    ]
    return grid(
        with_spans(frame, *shares, *("_".join(value) for value in values), places=2, few=True),
        columns,
        group=lambda row: f"{heading(row['dataset'])}: {row['model']}",
    )
