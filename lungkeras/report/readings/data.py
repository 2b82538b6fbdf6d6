"""Sentences under the tables and figures of notebook 01: selection, splits, the audit and the preparation."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.report.audit import probe_limits, probe_title
from lungkeras.report.readings.words import counted, one_sentence, paragraph
from lungkeras.study.words import decimal, heading, listed

FEW_SCANS = 10  # of a class in the test split
SUMS = ("scans", "patients")  # the rows of a table of counts that are not classes


def of_selection(flow: pd.DataFrame) -> str:
    """How many scans the selection keeps, and why it leaves out the others; `flow` is what `summaries.flow` gives."""
    found, kept = (int(flow.loc[flow["step"] == step, "scans"].iloc[0]) for step in ("found", "kept"))
    without = flow[~flow["step"].isin(["found", "kept"]) & (flow["scans"] > 0)]
    if without.empty:
        return paragraph(f"The selection keeps {'all' if kept == found else f'{kept:,} of'} {counted(found, 'scan')}.")
    reasons = [f"{row.scans:,} ({row.step.partition(': ')[2] or row.step})" for row in without.itertuples()]
    return paragraph(f"The selection keeps {kept:,} of {counted(found, 'scan')}.", f"Left out: {listed(reasons)}.")


def of_counts(counts: pd.DataFrame) -> str:
    """Which class has most scans, which fewest, and how many are left for the test; of `summaries.class_counts`."""
    classes = counts.drop(index=list(SUMS))
    most, fewest = classes["all"].idxmax(), classes["all"].idxmin()
    most_scans, fewest_scans = classes["all"].max(), classes["all"].min()
    scans, patients = counts.loc["scans", "all"], counts.loc["patients", "all"]
    each = f"{counted(scans, 'scan')} of {counted(patients, 'patient')}"
    answer = f"{each}; every class has {fewest_scans:,}."
    if most_scans > fewest_scans:
        ratio = f", {most_scans / fewest_scans:.1f} times as many" if fewest_scans else ""
        answer = f"{each}; the most are of {most} ({most_scans:,}{ratio}), the fewest of {fewest} ({fewest_scans:,})."
    if "test" not in counts or not scans:
        return paragraph(answer)
    tested = counts.loc["scans", "test"]
    few = classes.index[classes["test"] < FEW_SCANS]
    return paragraph(
        answer,
        f"The test split holds {counted(tested, 'scan')} ({tested / scans:.0%}) that no model learns from.",
        f"Too few to score a class well: {listed(few)}." if len(few) else "",
    )


def of_separation(records: pd.DataFrame) -> str:
    """Whether every patient has scans in one split alone; of records with columns patient and split."""
    splits = records.groupby("patient")["split"].nunique()
    if (splits == 1).all():
        return paragraph(f"All {counted(len(splits), 'patient')} have their scans in one split.")
    return paragraph(
        f"{int((splits > 1).sum()):,} of {counted(len(splits), 'patient')} have scans in more than one split, so "
        "test scores are too high."
    )


def of_leakage(leakage: pd.DataFrame) -> str:
    """What a split by scan would have done, and whether copies are separated; of the table audit_leakage."""
    answers, details = [], []
    for row in leakage.to_dict("records"):
        whose = f"{heading(row['dataset'])}: " if len(leakage) > 1 else ""
        if not row["patients_known"]:
            answers.append(f"{whose}the collection names no patients, so a split by patient can’t be verified")
        else:
            share = row["random_patient_in_train"]
            answers.append(
                f"{whose}a split by scan would have put the patients of {share:.1%} of test scans into training"
            )
        by_scan, by_patient = (row[f"random_auroc_by_{unit}"] for unit in ("scan", "patient"))
        if row["patients_known"] and pd.notna(by_scan) and pd.notna(by_patient):
            details.append(
                f"{whose}a linear model scores an AUROC of {decimal(by_scan, 3)} in such a split and of "
                f"{decimal(by_patient, 3)} on other patients"
            )
    shared = int(leakage["shared_duplicates"].sum())
    pairs = counted(shared, "pair") if shared else "No pair"
    return paragraph(
        one_sentence(answers),
        one_sentence(details),
        f"{pairs} of copies {'are' if shared > 1 else 'is'} in two splits.",
    )


def of_shortcuts(shortcuts: pd.DataFrame) -> str:
    """Whether a class can be predicted without the lungs, and how easy the task is; of the table audit_shortcuts."""
    known, named = shortcuts.dropna(subset=["auroc"]), len(set(shortcuts["dataset"])) > 1
    limits = probe_limits(known)
    blind, whole = known[limits != np.inf], known[limits == np.inf]
    alarms = known[known["alarm"].astype(bool)]
    answer = "No probe could look for shortcuts: too few patients."
    if len(alarms):
        answer = (
            f"{len(alarms)} of {len(blind)} probes give an alarm: {_probe(_strongest(alarms), named)} is the strongest."
        )
    elif len(blind):
        answer = (
            f"None of {len(blind)} probes gives an alarm: closest to its limit is {_probe(_strongest(blind), named)}."
        )
    easy = f"With the lungs in view, coarsely, it is {_probe(_strongest(whole), named)}." if len(whole) else ""
    return paragraph(answer, easy)


def _strongest(probes: pd.DataFrame) -> Mapping:
    """The probe whose AUROC is furthest above its limit, or least below it."""
    return probes.loc[(probes["auroc"] - probe_limits(probes).replace(np.inf, 0)).idxmax()]


def _probe(row: Mapping, named: bool) -> str:
    looked = probe_title(row["name"])
    whose = f" of {heading(row['dataset'])}" if named else ""
    return f"{title(row['class'])}{whose} from {looked}, with an AUROC of {decimal(row['auroc'], 3)}"


def of_labels(labels: pd.DataFrame) -> str:
    """How many labels the scans contradict; of the table audit_labels."""
    whole, classes = labels[labels["class"] == "all"], labels[labels["class"] != "all"]
    row = whole.iloc[0]
    if pd.isna(row["rate"]):
        return paragraph("How many labels are wrong can’t be estimated: no class is recognised well enough.")
    unknown = [title(name) for name in classes.loc[classes["rate"].isna(), "class"]]
    return paragraph(
        f"About {row['rate']:.1%} of the labels look wrong ({row['low']:.1%} to {row['high']:.1%}).",
        f"No estimate is possible for {listed(unknown)}." if unknown else "",
    )


def of_preparation(mean: float, std: float, quarantined: int, absent: int) -> str:
    """The grey levels that models are normalised by, and the scans that could not be prepared."""
    lost = (
        f"{counted(quarantined, 'scan')} could not be read, and {absent:,} listed in the source"
        if quarantined + absent
        else ""
    )
    return paragraph(
        f"The mean grey level of the training split is {mean:.1f}, the standard deviation {std:.1f} (255 is white).",
        f"{lost} {'is' if absent == 1 else 'are'} missing." if lost else "Every scan could be read.",
    )
