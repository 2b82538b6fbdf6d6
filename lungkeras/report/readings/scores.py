"""Sentences under the tables of notebook 03: scores, comparisons, calibration, errors, groups, other collections.

The paper's numbers are named only if the table has them.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.evaluation.baselines import LINEAR
from lungkeras.evaluation.calibration import within_chance
from lungkeras.evaluation.comparison import SIGNIFICANT
from lungkeras.evaluation.paper.tables import ALL_SCANS
from lungkeras.report.grid import span
from lungkeras.report.readings.words import counted, paragraph
from lungkeras.report.summary import competing
from lungkeras.study.words import backbone_title, decimal, heading, listed, run_name_title, run_title

SCREENING = 0.95  # the specificity in the sentence on operating points


def of_sizes(table_1: pd.DataFrame) -> str:
    """How many scans each dataset has, here and in the paper."""
    whole = table_1[table_1["class"] == ALL_SCANS]
    parts = [
        f"{heading(row.dataset)} {row.total:,}"
        + (f" (the paper {row.published:,.0f})" if pd.notna(row.published) else "")
        for row in whole.itertuples()
    ]
    return paragraph(f"Scans: {listed(parts)}.")


def of_complexity(table_2: pd.DataFrame) -> str:
    """Which network has the most parameters, and which needs the most operations."""
    networks = table_2.set_index("backbone")
    parameters, operations = networks["parameters_millions"], networks["giga_operations_per_image"]
    most, costly = parameters.idxmax(), operations.idxmax()
    if len(networks) == 1:
        return paragraph(f"{backbone_title(most)} has {decimal(parameters[most], 1)} million parameters.")
    least, cheap = parameters.idxmin(), operations.idxmin()
    return paragraph(
        f"{backbone_title(most)} has {parameters[most] / parameters[least]:.1f} times the parameters of "
        f"{backbone_title(least)} ({decimal(parameters[most], 1)} against {decimal(parameters[least], 1)} million).",
        f"{backbone_title(costly)} needs {operations[costly] / operations[cheap]:.1f} times the operations of "
        f"{backbone_title(cheap)}.",
    )


def of_scores(table_3: pd.DataFrame) -> str:
    """The highest macro F1 of each dataset with its interval, and where the paper's lies."""
    parts = []
    for dataset, own in competing(table_3).dropna(subset=["macro_f1"]).groupby("dataset", sort=False):
        row = own.loc[own["macro_f1"].idxmax()]
        interval = span(row["macro_f1_low"], row["macro_f1_high"], 3)
        parts.append(
            f"{heading(dataset)}: {run_title(row['backbone'], row['weights'])} has the highest macro F1, "
            f"{decimal(row['macro_f1'], 3)} ({interval}){_published(row)}"
        )
    return paragraph(f"{'; '.join(parts)}." if parts else "No run has a score.")


def _published(row: Mapping) -> str:
    published = row.get("published_macro_f1")
    if pd.isna(published):
        return ""
    inside = row["macro_f1_low"] <= published <= row["macro_f1_high"]
    return f", the paper’s run {decimal(published, 3)}, {'within' if inside else 'outside'} that interval"


def of_pairs(pairs: pd.DataFrame) -> str:
    """How many pairs of models differ significantly, and by how much at most; of `comparison.pairs`."""
    if pairs.empty:
        return paragraph("No two models were tested on the same scans.")
    significant = int((pairs["p_holm"] < SIGNIFICANT).sum())
    row = pairs.loc[pairs["difference"].abs().idxmax()]
    better, other = (row["first"], row["second"]) if row["difference"] > 0 else (row["second"], row["first"])
    rest = len(pairs) - significant
    return paragraph(
        f"{significant} of {counted(len(pairs), 'pair')} {'differs' if significant == 1 else 'differ'} significantly.",
        f"The largest difference is {decimal(abs(row['difference']), 3)} in macro F1, {run_name_title(better)} above "
        f"{run_name_title(other)} on {heading(row['dataset'])}.",
        f"The other {rest} may be equal: these scans are too few to rank them." if rest else "",
    )


def of_seeds(seeds: pd.DataFrame) -> str:
    """How much a score changes with the seed alone; from `comparison.seeds`."""
    if seeds.empty:
        return paragraph(
            "No run was repeated with another seed, so how much of a difference is due to the seed is unknown."
        )
    spread = seeds["macro_f1_most"] - seeds["macro_f1_least"]
    row = seeds.loc[spread.idxmax()]
    return paragraph(
        f"The seed alone changes macro F1 by up to {decimal(spread.max(), 3)} ({row['run']}, {row['seeds']} trainings)."
    )


def of_classes(class_scores: pd.DataFrame) -> str:
    """The classes of each dataset with the highest and lowest AUROC; from `comparison.class_scores`."""
    parts = []
    for dataset, own in competing(class_scores).dropna(subset=["auroc"]).groupby("dataset", sort=False):
        mean = own.groupby("class", sort=False)["auroc"].mean()
        best, worst = mean.idxmax(), mean.idxmin()
        high, low = (f"{title(name)} ({decimal(mean[name], 3)})" for name in (best, worst))
        parts.append(f"{heading(dataset)} {high} and {low}")
    return paragraph(
        f"The classes of highest and lowest AUROC, averaged over models, are: {'; '.join(parts)}."
        if parts
        else "No class has an AUROC."
    )


def of_prevalence(prevalence: pd.DataFrame) -> str:
    """How much macro F1 changes with normal scans as frequent as in the collection."""
    known = prevalence.dropna(subset=["macro_f1", "macro_f1_natural"])
    if known.empty:
        return paragraph("No dataset had normal scans left out, or none that can be counted.")
    change = known["macro_f1_natural"] - known["macro_f1"]
    row = known.loc[change.abs().idxmax()]
    here, natural = decimal(row["macro_f1"], 3), decimal(row["macro_f1_natural"], 3)
    return paragraph(
        f"Macro F1 changes by {change.abs().max():.3f} at most: {run_name_title(row['run'])} on "
        f"{heading(row['dataset'])} has {here} here and {natural} with {row['natural_share']:.0%} normal scans."
    )


def of_baselines(baselines: pd.DataFrame) -> str:
    """How far the model that validation chose lies above the linear one, dataset by dataset."""
    parts = [
        f"{heading(row['dataset'])} {decimal(row['difference'], 2)} ({decimal(row['macro_f1'], 2)} against "
        f"{decimal(row['linear_macro_f1'], 2)})"
        for row in baselines.to_dict("records")
    ]
    return (
        paragraph(f"In macro F1 the chosen network is above the linear model by: {'; '.join(parts)}.") if parts else ""
    )


def of_against(against: pd.DataFrame) -> str:
    """How many networks are significantly better than the linear model; of `comparison.against`."""
    linear = against[against["baseline"] == LINEAR]
    if linear.empty:
        return paragraph("No network was compared with a linear model.")
    better = linear["better"].eq("yes")
    others = [
        f"{run_name_title(run)} on {heading(dataset)}"
        for run, dataset in linear.loc[~better, ["run", "dataset"]].to_numpy()
    ]
    return paragraph(
        f"{int(better.sum())} of {counted(len(linear), 'network')} {'is' if better.sum() == 1 else 'are'} "
        "significantly better than the linear model.",
        f"Not: {listed(others)}." if others else "",
    )


def of_calibration(calibration: pd.DataFrame) -> str:
    """How many models have a calibration error within chance, before and after correction."""
    known, raw, scaled = within_chance(calibration)
    if known.empty:
        return paragraph("No model’s calibration could be measured.")
    worst = known.loc[known["ece_scaled"].idxmax()]
    return paragraph(
        f"The calibration error is within chance for {raw} of {counted(len(known), 'model')} as trained, and for "
        f"{scaled} after correction.",
        f"The largest corrected error is {decimal(worst['ece_scaled'], 3)}, of {run_name_title(worst['run'])} on "
        f"{heading(worst['dataset'])}.",
    )


def of_thresholds(thresholds: pd.DataFrame) -> str:
    """Whether thresholds from the validation split raise macro F1; empty for a study without a multilabel dataset."""
    if thresholds.empty:
        return paragraph("No dataset has several findings per scan, so there is no threshold to choose.")
    raised = int((thresholds["low"] > 0).sum())
    row = thresholds.loc[thresholds["difference"].idxmax()]
    return paragraph(
        f"Tuned thresholds raise the macro F1 of {raised} of {counted(len(thresholds), 'model')} significantly.",
        f"The largest gain is {decimal(row['difference'], 3)}, of {run_name_title(row['run'])} on "
        f"{heading(row['dataset'])}.",
    )


def of_operating_points(points: pd.DataFrame) -> str:
    """Which class is missed most at a high specificity; from the chosen models of `operating_points`."""
    asked = points[points["chosen"].astype(bool) & (points["asked"] == SCREENING)].dropna(subset=["sensitivity"])
    if asked.empty:
        return paragraph("No class has enough scans for a threshold of its own.")
    low, high = asked.loc[asked["sensitivity"].idxmin()], asked.loc[asked["sensitivity"].idxmax()]
    return paragraph(
        f"At a threshold for {SCREENING:.0%} specificity the chosen models find between {low['sensitivity']:.0%} "
        f"({title(low['class'])}, {heading(low['dataset'])}) and {high['sensitivity']:.0%} ({title(high['class'])}, "
        f"{heading(high['dataset'])}) of the scans of a class."
    )


def of_failures(counts: pd.DataFrame) -> str:
    """The class that is missed most often, and what is predicted instead; from `failures.error_counts`."""
    known = competing(counts).query("scans > 0")
    if known.empty or not known["missed"].sum():
        return paragraph("No model misses a scan of any class.")
    share = known["missed"] / known["scans"]
    row = known.loc[share.idxmax()]
    instead = (
        f", mostly predicted as {title(row['mostly_called'])}" if isinstance(row.get("mostly_called"), str) else ""
    )
    return paragraph(
        f"{run_name_title(row['run'])} on {heading(row['dataset'])} misses the largest share of a class: "
        f"{row['missed']:,} of {counted(row['scans'], 'scan')} of {title(row['class'])} ({share.max():.0%}){instead}."
    )


def of_groups(groups: pd.DataFrame) -> str:
    """The largest gap in AUROC between groups of one model; of `subgroups.subgroups`."""
    known = groups.dropna(subset=["macro_auroc"])
    gaps = known.groupby(["run", "attribute"], sort=False)["macro_auroc"].agg(["min", "max", "size"]).query("size > 1")
    silent = [heading(name) for name in dict.fromkeys(groups["dataset"]) if name not in set(known["dataset"])]
    without = f"{listed(silent)}: no group has a score." if silent else ""
    if gaps.empty:
        return paragraph("No two groups can be compared.", without)
    gap = gaps["max"] - gaps["min"]
    run, attribute = gap.idxmax()
    own = known[(known["run"] == run) & (known["attribute"] == attribute)].set_index("group")
    low, high = own.loc[own["macro_auroc"].idxmin()], own.loc[own["macro_auroc"].idxmax()]
    apart = low["macro_auroc_high"] < high["macro_auroc_low"]
    return paragraph(
        f"The largest gap between groups is {decimal(gap.max(), 3)} in macro AUROC: {run_name_title(run)} scores "
        f"{decimal(low['macro_auroc'], 3)} for {attribute} {low.name} and {decimal(high['macro_auroc'], 3)} for "
        f"{attribute} {high.name}.",
        "Their intervals do not overlap." if apart else "Their intervals overlap, so it may be chance.",
        without,
    )


def of_external(elsewhere: pd.DataFrame) -> str:
    """How the recall of the classes falls on another collection; of `external.external_validation`."""
    known = (
        elsewhere[elsewhere["measure"] == "recall"].dropna(subset=["value", "own_value"])
        if len(elsewhere)
        else elsewhere
    )
    if known.empty:
        return paragraph("No model could be tested on another collection.")
    change = known["value"] - known["own_value"]
    fallen = int((known["high"] < known["own_low"]).sum())
    row = known.loc[change.idxmin()]
    return paragraph(
        f"On another collection, {fallen} of {counted(len(known), 'recall')} are lower than on the own test split, "
        "with intervals that do not overlap.",
        f"The lowest compared with its own test split: {run_name_title(row['run'])} finds {row['value']:.0%} of "
        f"{title(row['class'])} in {heading(row['other'])} and {row['own_value']:.0%} in {heading(row['dataset'])}.",
    )


def of_transfer(known: pd.DataFrame) -> str:
    """Whether pretrained weights may have seen copies of test scans; of `transfer.transferred`."""
    copies = known["copies"].dropna() if len(known) else pd.Series(dtype=float)
    if copies.empty:
        return paragraph("No weights are known to come from another collection.")
    if not copies.sum():
        return paragraph(
            f"The weights of {counted(len(copies), 'pretrained model')} were trained on no copy of a test scan."
        )
    row = known.loc[copies.idxmax()]
    return paragraph(
        f"Pretrained weights may have seen {counted(copies.sum(), 'test scan')}, most of {run_name_title(row['run'])} "
        f"on {heading(row['dataset'])}: its macro F1 is {decimal(row['macro_f1'], 3)}, without the copies "
        f"{decimal(row['macro_f1_without'], 3)}."
    )


def of_curves(results: pd.DataFrame, epochs: Mapping[str, int]) -> str:
    """How many runs were best in their last epoch; `epochs` is the number of epochs of each run that is asked about."""
    own = results[results["run"].isin(list(epochs))].dropna(subset=["best_epoch"])
    if own.empty:
        return paragraph("No run has a best epoch.")
    last = own["best_epoch"] == own["run"].map(epochs)
    row = own.loc[own["best_epoch"].idxmin()]
    return paragraph(
        f"{int(last.sum())} of {counted(len(own), 'run')} had the lowest validation loss in the last epoch: more "
        "epochs may improve them.",
        f"The earliest best epoch is {row['best_epoch']:.0f}, of {run_name_title(row['run'])} on "
        f"{heading(row['dataset'])}.",
    )


def of_pretraining(results: pd.DataFrame, pairs: pd.DataFrame, runs: Iterable[str]) -> str:
    """How pretrained weights change macro F1, dataset by dataset; `pairs` is what `comparison.pairs` returns."""
    own = results[results["run"].isin(list(runs))]
    parts = []
    for dataset, both in own.groupby("dataset", sort=False):
        scratch, learned = (both[(both["weights"] == "random") == random] for random in (True, False))
        if len(scratch) != 1 or len(learned) != 1:
            continue
        names = {scratch["run"].iloc[0], learned["run"].iloc[0]}
        asked = pairs[pairs["first"].isin(names) & pairs["second"].isin(names)]
        verdict = (
            "" if asked.empty else " (significant)" if asked["p_holm"].iloc[0] < SIGNIFICANT else " (may be chance)"
        )
        change = learned["macro_f1"].iloc[0] - scratch["macro_f1"].iloc[0]
        parts.append(f"{heading(dataset)} {change:+.3f}{verdict}")
    return paragraph(f"With pretrained weights, macro F1 changes by: {'; '.join(parts)}.") if parts else ""


def of_rates(scores: pd.DataFrame) -> str:
    """Which learning rate scores highest and lowest; `scores` has columns rate and macro_f1."""
    known = scores.dropna(subset=["macro_f1"])
    if known.empty:
        return paragraph("No run of the ablation has a score.")
    best, worst = known.loc[known["macro_f1"].idxmax()], known.loc[known["macro_f1"].idxmin()]
    return paragraph(
        f"A rate of {best['rate']:g} gives the highest macro F1 on the test split, {decimal(best['macro_f1'], 3)}, and "
        f"{worst['rate']:g} the lowest, {decimal(worst['macro_f1'], 3)}."
    )
