"""What the notebooks read in what they show: tables in, sentences out, of the data, of one run and of the explanations.

Every number of a sentence is taken from the table given, so that it is true of any study; the first sentence of a
reading is its answer. Of the scores of a whole study see `score_readings`.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.explanation.localisation import ALL, BASELINES, PRIOR, RANDOMISED
from lungkeras.preparation.audit.shortcuts import PROBES
from lungkeras.scores.divergence import best_epoch
from lungkeras.study.words import decimal, heading, listed, run_name_title

WIDTH = 100  # characters of a line under a cell
FEW_SCANS = 10  # of a class in the test split
SUMS = ("scans", "patients")  # the rows of a table of counts that are no classes
SENTENCE_ENDS = re.compile(r"(?<=[^\s.]\.)\s+(?=[A-Z0-9])")


def paragraph(*sentences: str) -> str:
    """Sentences as lines of WIDTH characters; empty ones are left out."""
    return textwrap.fill(" ".join(filter(None, sentences)), WIDTH, break_on_hyphens=False)


def learned(*readings: str) -> str:
    """The answers of several readings, the first sentence of each, as a list with one line or more for each."""
    first = [SENTENCE_ENDS.split(" ".join(reading.split()))[0] for reading in readings if reading]
    return "\n".join(
        textwrap.fill(f"- {text}", WIDTH, subsequent_indent="  ", break_on_hyphens=False) for text in first
    )


def counted(number: float, noun: str) -> str:
    """ "1 scan", "2,400 scans" """
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


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
        f"{int((splits > 1).sum()):,} of {counted(len(splits), 'patient')} have scans in more than one split, so that "
        "test scores are too high."
    )


def of_leakage(leakage: pd.DataFrame) -> str:
    """What a split by scan would have done, and whether copies are separated; of the table audit_leakage."""
    answers, details = [], []
    for row in leakage.to_dict("records"):
        whose = f"{heading(row['dataset'])}: " if len(leakage) > 1 else ""
        if not row["patients_known"]:
            answers.append(f"{whose}the collection names no patients, so that a split by patient can’t be proved")
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
        _joined(answers), _joined(details), f"{pairs} of copies {'are' if shared > 1 else 'is'} in two splits."
    )


def _joined(answers: Iterable[str]) -> str:
    """Answers for several datasets as one sentence, so that it is the answer of a reading; empty for none."""
    text = "; ".join(answers)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def of_shortcuts(shortcuts: pd.DataFrame) -> str:
    """Whether a class can be predicted without the lungs, and how easy the task is; of the table audit_shortcuts."""
    known, named = shortcuts.dropna(subset=["auroc"]), len(set(shortcuts["dataset"])) > 1
    limits = _limits(known)
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
    return probes.loc[(probes["auroc"] - _limits(probes).replace(np.inf, 0)).idxmax()]


def _limits(probes: pd.DataFrame) -> pd.Series:
    return probes["name"].map(lambda name: PROBES[name].limit if name in PROBES else 1.0)


def _probe(row: Mapping, named: bool) -> str:
    looked = PROBES[row["name"]].title if row["name"] in PROBES else row["name"]
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
        f"Nothing can be said of {listed(unknown)}." if unknown else "",
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
        f"{lost} {'is' if absent == 1 else 'are'} not there." if lost else "Every scan could be read.",
    )


def of_history(history: pd.DataFrame) -> str:
    """When the validation loss was lowest, and whether it still fell; `history` has epoch, loss and val_loss."""
    best, last = best_epoch(history), int(history["epoch"].max())
    if best is None:
        return paragraph("No epoch has a validation loss that is a number: the run diverged.")
    at = history.set_index("epoch").loc[best]
    first = history.iloc[0]
    answer = (
        f"The validation loss was lowest in epoch {best} of {last}: {decimal(at['val_loss'], 3)}, from "
        f"{decimal(first['val_loss'], 3)} after the first."
    )
    if best == last:
        return paragraph(answer, "It still fell at the end, so more epochs may lower it further.")
    end = history.iloc[-1]
    gap = f"At the end it was {decimal(end['val_loss'], 3)}, with {decimal(end['loss'], 3)} in training."
    return paragraph(answer, gap)


def of_run(scores: Mapping) -> str:
    """Which class is recognised best and which worst; of a run's metrics of one split."""
    classes = pd.DataFrame(scores["per_class"]).T
    f1 = pd.to_numeric(classes["f1"]).dropna()
    if f1.empty:
        return paragraph("No class of this split can be scored.")
    best, worst = f1.idxmax(), f1.idxmin()
    return paragraph(
        f"Macro F1 is {decimal(scores['macro_f1'], 3)}: {title(best)} is recognised best (F1 {decimal(f1[best], 3)}), "
        f"{title(worst)} worst ({decimal(f1[worst], 3)} on {counted(classes.loc[worst, 'support'], 'scan')})."
    )


def of_confusion(counts: pd.DataFrame) -> str:
    """How many scans are misclassified and as what most; of `metrics.confusion`."""
    wrong = counts.to_numpy() * (1 - np.eye(len(counts), dtype=int))
    total, errors = int(counts.to_numpy().sum()), int(wrong.sum())
    if not errors:
        return paragraph(f"None of {counted(total, 'scan')} is misclassified.")
    true, called = np.unravel_index(wrong.argmax(), wrong.shape)
    return paragraph(
        f"{errors:,} of {counted(total, 'scan')} {'are' if errors > 1 else 'is'} misclassified, {errors / total:.1%}.",
        f"The most frequent error: {counted(wrong.max(), 'scan')} of {title(counts.index[true])} called "
        f"{title(counts.columns[called])}.",
    )


def of_errors(errors: pd.DataFrame) -> str:
    """How sure a model is of its worst error; of `failures.confident_errors`."""
    if errors.empty:
        return paragraph("No error is known.")
    row = errors.sort_values("confidence", ascending=False).iloc[0]
    true, predicted = (_classes(row[key]) for key in ("true", "predicted"))
    return paragraph(
        f"The model is surest, {row['confidence']:.1%}, of its error on {row['scan']}: {true}, called {predicted}."
    )


def _classes(names: str | float) -> str:
    return "no class" if pd.isna(names) or not names else listed([title(name) for name in str(names).split("|")])


def of_features(features: pd.DataFrame) -> str:
    """How pure the neighbourhoods of scans are in each model's features; of the table features."""
    purity = features.groupby("run", sort=False)["purity"].mean().dropna()
    if purity.empty:
        return paragraph("No neighbourhood could be measured.")
    said = []
    for dataset, own in purity.groupby(lambda run: run.partition("-")[0], sort=False):
        best, worst = own.idxmax(), own.idxmin()
        beside = f", fewest with {run_name_title(worst)} ({own[worst]:.0%})" if len(own) > 1 else ""
        said.append(f"{heading(dataset)}, most with {run_name_title(best)} ({own[best]:.0%}){beside}")
    return paragraph(f"Of a scan’s ten nearest neighbours these share its class: {'; '.join(said)}.")


def of_maps(maps: pd.DataFrame) -> str:
    """How much of a scan heat maps take, and of which class they are widest; of the table heatmaps."""
    area = maps.groupby(["run", "label"], sort=False)["area"].mean().dropna()
    if area.empty:
        return paragraph("No heat map could be measured.")
    (wide_run, wide), (narrow_run, narrow) = area.idxmax(), area.idxmin()
    right = maps[maps["correct"] == 1]["area"].mean(), maps[maps["correct"] == 0]["area"].mean()
    return paragraph(
        f"Maps cover {maps['area'].mean():.1%} of a scan on average: the most {area.max():.1%} ({title(wide)}, "
        f"{_model(wide_run)}), the least {area.min():.1%} ({title(narrow)}, {_model(narrow_run)}).",
        f"Of scans that are classified correctly it is {right[0]:.1%}, of the others {right[1]:.1%}."
        if not np.isnan(right).any()
        else "",
    )


def _model(run: str) -> str:
    return f"{run_name_title(run)} on {heading(run.partition('-')[0])}"


def of_pointing(located: pd.DataFrame) -> str:
    """Whether maps point at findings more often than a fixed point does; of the table localisation."""
    whole = located[(located["class"] == ALL) & (located["findings"] > 0)]
    said = []
    for dataset, own in whole.groupby("dataset", sort=False):
        asked = own[~own["method"].isin(BASELINES) & (own["run"] != RANDOMISED)].dropna(subset=["hit"])
        prior = own.loc[own["method"] == PRIOR, "hit"].max()
        if asked.empty:
            continue
        best = asked.loc[asked["hit"].idxmax()]
        above = int((asked["above_prior_low"] > 0).sum())
        said.append(
            f"{heading(dataset)}: maps of {above} of {len(asked)} models and methods point into a box significantly "
            f"more often than the best fixed point ({decimal(prior, 2)}), at most {decimal(best['hit'], 2)} of "
            f"{counted(best['findings'], 'finding')} ({run_name_title(best['run'])})"
        )
    return paragraph(_joined(said) or "No test scan has a known box, so whether maps point at findings is unknown.")


def of_randomisation(fallen: pd.DataFrame) -> str:
    """How far maps change with the weights randomised; of the table randomisation."""
    said = []
    for (dataset, method), own in fallen.groupby(["dataset", "method"], sort=False):
        if method != "grad_cam":
            continue
        last = own.loc[own["step"].idxmax()]
        verdict = "no more than" if last["ssim"] <= last["other_ssim"] else "more than"
        said.append(
            f"{heading(dataset)} {decimal(last['ssim'], 2)}, {verdict} maps of different scans have "
            f"({decimal(last['other_ssim'], 2)})"
        )
    if not said:
        return paragraph("No model was randomised.")
    return paragraph(
        "With all weights randomised, Grad-CAM keeps this similarity (SSIM) with the trained model’s map: "
        f"{'; '.join(said)}."
    )


def of_logits(logits: np.ndarray, classes: Sequence[str], name: str, grid: Sequence[int]) -> str:
    """The logit of a class beside those of the others, (classes,), and the shape (h, w, C) they are computed from."""
    values = dict(zip(classes, np.ravel(logits), strict=True))
    others = [f"{title(other)} {decimal(value, 2)}" for other, value in values.items() if other != name]
    height, width, channels = grid
    return paragraph(
        f"The logit of {title(name)} is {decimal(values[name], 2)}" + (f", of {listed(others)}." if others else "."),
        f"It is computed from {counted(channels, 'channel')} of {height} × {width} cells.",
    )


def of_weights(weights: np.ndarray, activations: np.ndarray) -> str:
    """How the channels of one scan's Grad-CAM share the evidence; weights (C,), activations (h, w, C)."""
    weights, positive = np.ravel(weights), int((np.ravel(weights) > 0).sum())
    evidence = weights * activations.mean(axis=(0, 1))
    order = np.argsort(evidence)[::-1]
    gained = np.maximum(evidence, 0)
    answer = (
        f"{positive} of {counted(len(weights), 'channel')} speak for the class, the others against it or not at all."
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
        return paragraph(f"{place}; of this scan no box is known.")
    inside = bool(((edges[:, 0] <= x) & (x < edges[:, 2]) & (edges[:, 1] <= y) & (y < edges[:, 3])).any())
    return paragraph(
        f"{place}, {'inside' if inside else 'outside'} the box.", f"The overlap (IoU) is {decimal(overlap, 2)}."
    )


def of_agreement(maps: Mapping[str, np.ndarray]) -> str:
    """How alike several maps of one scan are: {title: float (H, W)}, the first against each of the others."""
    (name, first), *others = maps.items()
    alike = [f"{beside} {decimal(_correlation(first, other), 2)}" for beside, other in others]
    return paragraph(f"Correlation with the map of {name}: {listed(alike)}.")


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if not np.ptp(one) or not np.ptp(other):
        return float("nan")
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


def of_claims(ledger: pd.DataFrame) -> str:
    """How many claims hold; of the table claims."""
    verdicts = ledger["verdict"].value_counts()
    if verdicts.empty:
        return paragraph("No claim was checked: the paper makes none of these collections.")
    parts = [f"{verdict}: {count}" for verdict, count in verdicts.items()]
    return paragraph(f"Of {counted(len(ledger), 'claim')}, {'; '.join(parts)}.")


def of_claim(claim: Mapping) -> str:
    """One claim, worked through: what it says, in how many draws it was true, and the verdict. A row of claims."""
    share = claim.get("share_true")
    drawn = f"It is true in {share:.1%} of the draws of patients." if pd.notna(share) else ""
    reason = claim.get("reason")
    return paragraph(
        f"“{heading(claim['claim'])}”: {claim['verdict']}.",
        drawn,
        f"Here: {claim['figures']}." if isinstance(claim.get("figures"), str) else "",
        f"{reason[:1].upper()}{reason[1:]}." if isinstance(reason, str) and reason else "",
    )
