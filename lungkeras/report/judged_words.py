"""A judgement in words: the question, the answer with its intervals, and what not to conclude."""

from collections.abc import Mapping, Sequence

import pandas as pd

from lungkeras.evaluation.comparison import SIGNIFICANT
from lungkeras.evaluation.judgement import Judgement
from lungkeras.evaluation.paper.truth import VERDICTS
from lungkeras.report.grid import span
from lungkeras.report.judged_tables import p_text
from lungkeras.report.trust import BAD, CARE, GOOD, UNKNOWN, Light
from lungkeras.scores import intervals
from lungkeras.study.words import decimal, heading, listed

NAMED = 6  # classes in a sentence


def lead(judgement: Judgement) -> dict:
    """The first line: the number of scans and patients. {warns, strong, text}."""
    scores = judgement.table("scores").iloc[0]
    if not judgement.read.patients_known:
        text = "Every scan counts as a patient of its own: if patients have several, intervals are too short."
        return {"warns": True, "strong": f"{scores['scans']:,} scans, patients not known.", "text": text}
    strong = f"{scores['scans']:,} scans of {scores['patients']:,} patients."
    return {"warns": False, "strong": strong, "text": "Intervals are over patients, not over scans."}


def asked(judgement: Judgement) -> str:
    """The question, in a sentence."""
    read = judgement.read
    names = listed([f"“{name}”" for name in judgement.predictors])
    do = "do" if len(judgement.predictors) > 1 else "does"
    if len(read.classes) == 1:
        return f"How well {do} {names} distinguish scans with {read.classes[0]} from scans without it?"
    classes, more = [name.replace("_", " ") for name in read.classes[:NAMED]], len(read.classes) - NAMED
    classes += [f"{more} more"] if more > 0 else []
    kind = "which one of these a scan shows" if read.task == "multiclass" else "whether a scan shows each of these"
    return f"How well {do} {names} say {kind}: {listed(classes)}?"


def answer(judgement: Judgement, made: Mapping[str, pd.DataFrame]) -> list[str]:
    """The answer in a paragraph, with 95 % intervals; that of any claims in a second."""
    scores = judgement.table("scores").to_dict("records")
    rule = "for the likeliest class" if judgement.read.task == "multiclass" else "at a threshold of 0.5"
    macro = "macro " if len(judgement.read.classes) > 1 else ""
    first, second = (
        listed([with_interval(row, name) + _for(row, scores) for row in scores]) for name in ("macro_auroc", "macro_f1")
    )
    first = first.replace("(", "(95 % interval ", 1)
    parts = [f"The {macro}AUROC is {first}; {rule}, the {macro}F1 is {second}."]
    if len(scores) == 2:
        parts.append(_difference(made["pairs"].iloc[0]))
    if "image_gain" in made:
        parts += _gain(made["image_gain"])
    errors = made["calibration"][made["calibration"]["class"] == ""].to_dict("records")
    off = listed([with_interval(row, "ece") + _for(row, errors) for row in errors])
    scaled = [decimal(row["ece_scaled"], 3) for row in errors if "ece_scaled" in row]
    after = f", and {listed(scaled)} after scaling by a temperature fitted on val" if scaled else ""
    parts.append(f"The mean calibration error is {off}{after}.")
    paragraphs = [" ".join(parts)]
    if "claims" in made:
        counts = made["claims"]["verdict"].value_counts()
        known = [f"{verdict} {counts[verdict]}" for verdict in VERDICTS if verdict in counts]
        paragraphs.append(f"The claims: {listed(known)}.")
    return paragraphs


def _for(row: Mapping, rows: Sequence) -> str:
    return f" for {row['predictor']}" if len(rows) > 1 else ""


def _difference(pair: pd.Series) -> str:
    p = pair["auroc_p_holm"]
    if pd.isna(p):
        return "Whether they differ in AUROC can’t be tested."
    ends = f"{decimal(pair['auroc_low'], 3)} to {decimal(pair['auroc_high'], 3)}"
    size = f"the difference is {decimal(pair['auroc_difference'], 3)} ({ends}; p {p_text(p)})"
    return f"In AUROC they differ significantly: {size}." if p < SIGNIFICANT else f"They may be equal in AUROC: {size}."


def _gain(table: pd.DataFrame) -> list[str]:
    rows = [row for row in table[table["class"] == ""].to_dict("records") if pd.notna(row["gain"])]
    if not rows:
        return []
    known, first = rows[0]["metadata"].split(", "), decimal(rows[0]["metadata_auroc"], 3)
    alone = f"{listed(known).capitalize()} alone reach{'es' if len(known) == 1 else ''} an AUROC of {first}"
    added = [
        f"{decimal(row['gain'], 3)} ({decimal(row['gain_low'], 3)} to {decimal(row['gain_high'], 3)}){_for(row, rows)}"
        for row in rows
    ]
    return [f"{alone}; what the image adds is {listed(added)}."]


def with_interval(row: Mapping, name: str) -> str:
    """0.812 (0.790–0.830)."""
    if pd.isna(row[name]):
        return "undefined"
    ends = span(row[f"{name}_low"], row[f"{name}_high"], 3)
    return decimal(row[name], 3) + ("" if ends == "–" else f" ({ends})")


def cautions(judgement: Judgement) -> list[str]:
    """What these numbers do not show, given the data that were read."""
    read, classes = judgement.read, judgement.table("class_scores")
    found = [
        "Nothing here shows that the predictions would serve patients: no reader, no clinic and no other hospital was "
        "involved.",
        "The labels are treated as the truth. Predictions that repeat their errors look better than they are.",
        "Copies can’t be seen in a table. Scans that are listed twice under two names, and scans that the model was "
        "trained on, make scores too high. Neither can be excluded here.",
    ]
    if not read.patients_known:
        found.append(
            "Patients are not known. Intervals and tests treat scans as independent, so they are too optimistic."
        )
    if read.val is None:
        found.append(
            "No scans are marked as val. Thresholds are cross-fitted by patient, so scores at them are fair; the "
            "thresholds in the tables are chosen on the scans that are judged, and are optimistic for them."
        )
    thin = list(dict.fromkeys(classes.loc[classes["note"] == intervals.TOO_FEW, "class"]))
    if thin:
        named, more = [heading(name) for name in thin[:NAMED]], len(thin) - NAMED
        named += [f"{more} more"] if more > 0 else []
        found.append(
            f"{listed(named)}: fewer than {intervals.FEWEST_PATIENTS} patients have the class, or lack it. Such a "
            "class has no interval, and its scores are unreliable."
        )
    if (left := int(read.label_counts[["uncertain", "blank"]].to_numpy().sum())) > 0:
        found.append(
            f"{left:,} labels are uncertain or blank and are not used. Scans with a known label may be easier, or "
            "harder, than those without."
        )
    if len(read.test.metadata.columns):
        found.append(
            "Groups differ in more than their name: how sick they are, how often they were scanned, on which scanner. "
            "A gap between them needs an explanation; it is not one."
        )
    else:
        found.append(
            "Age, sex, view and scanner are not known (--records FILE): what the image adds to them is unknown, and so "
            "is whether the predictions serve all groups equally."
        )
    return found + [note for note in read.notes if not note.startswith("Patients are not known")]


def lights(judgement: Judgement, made: Mapping[str, pd.DataFrame]) -> list[Light]:
    """How far the numbers can be trusted: five lights, as on the first page of a study."""
    return [
        _patients(judgement),
        _labels(judgement),
        _calibration(made["calibration"]),
        _image(made.get("image_gain")),
        _thresholds(judgement),
    ]


def _patients(judgement: Judgement) -> Light:
    name, where = "Patients", "scores"
    if not judgement.read.patients_known:
        return Light(name, CARE, "unknown", "Every scan counts as a patient: intervals may be too short.", where)
    scores = judgement.table("scores").iloc[0]
    text = f"Intervals and tests are over {scores['patients']:,} patients with {scores['scans']:,} scans."
    return Light(name, GOOD, "known", text, where)


def _labels(judgement: Judgement) -> Light:
    name, where = "Labels", "understood"
    classes = judgement.table("class_scores")
    thin = classes.loc[classes["note"] == intervals.TOO_FEW, "class"].nunique()
    counts = judgement.read.label_counts
    left, asked = int(counts[["uncertain", "blank"]].to_numpy().sum()), counts.drop(columns="class").to_numpy().sum()
    if thin:
        text = f"{thin} of {len(judgement.read.classes)} classes have too few patients for an interval."
        return Light(name, BAD if thin == len(judgement.read.classes) else CARE, "few", text, where)
    if left:
        return Light(name, CARE, "partial", f"{left / asked:.0%} of the labels are uncertain or blank.", where)
    text = "Every scan has a label for every class. Whether the labels are right was not checked."
    return Light(name, GOOD, "complete", text, where)


def _calibration(table: pd.DataFrame) -> Light:
    name, where = "Calibration", "calibration"
    known = table[table["class"] == ""].dropna(subset=["ece_low"])
    if known.empty:
        return Light(name, UNKNOWN, "unmeasured", "The calibration error has no interval.", where)
    good = int((known["ece_low"] <= 0).sum())
    largest = decimal(known["ece"].max(), 3)
    if len(known) == 1:
        text = f"The error is {largest}, and its interval {'includes' if good else 'excludes'} 0."
    else:
        text = f"The interval of the error includes 0 for {good} of {len(known)} predictors; the largest is {largest}."
    level, word = (GOOD, "calibrated") if good == len(known) else (CARE, "mixed") if good else (BAD, "off")
    return Light(name, level, word, text, where)


def _image(table: pd.DataFrame | None) -> Light:
    name, where = "Image or metadata", "baselines"
    rows = [] if table is None else table[table["class"] == ""].dropna(subset=["gain_low"]).to_dict("records")
    if not rows:
        return Light(name, UNKNOWN, "unknown", "Without metadata, what the image adds is unknown.", where)
    adding = sum(row["gain_low"] > 0 for row in rows)
    known = listed(rows[0]["metadata"].split(", "))
    text = f"The image adds significantly to {known} for {adding} of {len(rows)} predictors."
    if len(rows) == 1:
        text = f"The image adds {'' if adding else 'nothing '}significant{'ly' if adding else ''} to {known}."
    level, word = (GOOD, "adds") if adding == len(rows) else (CARE, "mixed") if adding else (BAD, "adds nothing")
    return Light(name, level, word, text, where)


def _thresholds(judgement: Judgement) -> Light:
    name, where = "Thresholds", "thresholds"
    if judgement.read.val is None:
        text = "No scan is marked as val: thresholds are cross-fitted by patient on the scans that are judged."
        return Light(name, CARE, "cross-fitted", text, where)
    text = "Thresholds and temperatures are chosen on scans other than those that are judged."
    return Light(name, GOOD, "from val", text, where)
