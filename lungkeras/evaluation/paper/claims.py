"""The study's claims, each tested on the runs: does it hold here, fail, or can these runs not tell?

claims.yaml holds the words of the 40 claims and what the paper's own tables say; here is a predicate of the same name
for each. A predicate takes evidence and returns the truth of the claim in every draw of patients and every seed: 1
true, 0 false, 0.5 tied, NaN unknown. Most claims join several comparisons. If each of k is true in at least 95 % of the
draws, the claim *holds*. If one of them is true in at most 2.5 % / k, it *fails*: that the k are rarely true together
is no evidence against any single one. In between, the runs *cannot tell*; a claim that no run of the study can answer
is *not run*.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from lungkeras.evaluation.paper.evidence import C, Evidence, P, X
from lungkeras.scores import intervals
from lungkeras.scores.correlation import rank_correlations

HOLDS, FAILS, CANNOT_TELL, NOT_RUN = "holds", "fails", "cannot tell", "not run"
SURE = 0.95
ROUNDING = 1e-9
FAR_BETTER = 0.1  # of macro F1
SIMILAR = 0.04  # of macro F1; the paper calls 0.036 about equal
MARGINAL = 0.1  # of a loss
ALL = (P, C, X)
RATES = (0.001, 0.005, 0.01, 0.05, 0.1)
COLUMNS = [
    "id",
    "claim",
    "verdict",
    "holds_in_paper",
    "share_true",
    "seeds",
    "figures",
    "reason",
    "where",
    "predicate",
    "note",
]

Truth = np.ndarray


class Joined(np.ndarray):
    """The truth, in each draw, of a claim that joins several comparisons: `parts`, by and (`all_of`) or by or.

    Arithmetic acts on the truths alone.
    """

    parts: tuple[np.ndarray, ...] = ()
    all_of: bool = True


def joined(truth: np.ndarray, parts: Iterable[np.ndarray], *, all_of: bool) -> Joined:
    """The comparisons of a truth; a part that joins in the same way is flattened into its own comparisons."""
    found = np.asarray(truth).view(Joined)
    found.all_of = all_of
    found.parts = tuple(
        own
        for part in parts
        for own in (part.parts if isinstance(part, Joined) and part.parts and part.all_of is all_of else (part,))
    )
    return found


@functools.cache
def claims() -> dict[str, dict]:
    """{id: {claim, where, predicate, holds_in_paper, note}} of claims.yaml; treat it as read-only."""
    listed = yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))
    return {entry.pop("id"): {"note": ""} | entry for entry in listed}


def less(first: np.ndarray, second: np.ndarray) -> Truth:
    """first < second; values equal up to rounding are tied."""
    first, second = np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float))
    truth = np.where(np.isclose(first, second, rtol=ROUNDING, atol=ROUNDING), 0.5, np.where(first < second, 1.0, 0.0))
    return np.where(np.isnan(first) | np.isnan(second), np.nan, truth)


def every(truths: Iterable[Truth]) -> Truth:
    """And: false where one is false, even if others are unknown; else the minimum."""
    parts = list(truths)
    stacked = np.stack(np.broadcast_arrays(*map(np.asarray, parts)))
    return joined(np.where((stacked == 0).any(axis=0), 0.0, stacked.min(axis=0)), parts, all_of=True)


def some(truths: Iterable[Truth]) -> Truth:
    """Or: true where one is true, even if others are unknown; else the maximum."""
    parts = list(truths)
    return joined(1 - np.asarray(every(1 - np.asarray(part) for part in parts)), parts, all_of=False)


def least(value: np.ndarray, others: Iterable[np.ndarray]) -> Truth:
    """Whether a value is below every other one."""
    return every(less(value, other) for other in others)


def greatest(value: np.ndarray, others: Iterable[np.ndarray]) -> Truth:
    """Whether a value is above every other one."""
    return every(less(other, value) for other in others)


def most(values: Iterable[np.ndarray]) -> np.ndarray:
    """The greatest of several quantities in each draw."""
    return functools.reduce(np.maximum, values)


PREDICATES: dict[str, Callable[[Evidence], Truth]] = {}


def predicate(function: Callable[[Evidence], Truth]) -> Callable[[Evidence], Truth]:
    """Enters a predicate under its name, with dashes, as claims.yaml has it."""
    PREDICATES[function.__name__.replace("_", "-")] = function
    return function


@predicate
def mobilenet_fastest_epoch(runs):
    return every(least(runs.seconds("M", d), [runs.seconds(m, d) for m in "RET"]) for d in ALL)


@predicate
def efficientnet_slowest_epoch(runs):
    slower = [less(runs.seconds(fast, d), runs.seconds(slow, d)) for d in ALL for slow in "ET" for fast in "RM"]
    return every([*slower, less(runs.parameters("E"), runs.parameters("R"))])


def time_to_best(runs, m, d):
    return runs.seconds(m, d) * runs.best_epoch(m, d)


@predicate
def mobilenet_not_fastest_to_best(runs):
    return some(less(time_to_best(runs, m, d), time_to_best(runs, "M", d)) for d in ALL for m in "RET")


@predicate
def mobilenet_least_training_time(runs):
    def time(m, d):
        return runs.seconds(m, d) * runs.epochs(m, d)

    return every(least(time("M", d), [time(m, d) for m in "RET"]) for d in ALL)


@predicate
def resnet_fewest_epochs(runs):
    return every(least(runs.best_epoch("R", d), [runs.best_epoch(m, d) for m in "MET"]) for d in ALL)


@predicate
def resnet_half_the_epochs(runs):
    return every(less(runs.best_epoch("R", d) / runs.best_epoch(m, d), 0.55) for d in ALL for m in "MET")


@predicate
def efficientnet_best_covid_xray8(runs):
    return every(greatest(runs.f1("E", d), [runs.f1(m, d) for m in "RM"]) for d in (C, X))


@predicate
def efficientnet_family_best_but_pneumonia(runs):
    family = [less(most(runs.f1(m, d) for m in "RM"), most(runs.f1(m, d) for m in "ET")) for d in (C, X)]
    return every([*family, greatest(runs.f1("M", P), [runs.f1(m, P) for m in "RET"])])


@predicate
def pneumonia_architectures_similar(runs):
    def spread(d):
        return most(runs.f1(m, d) for m in "RME") + most(-runs.f1(m, d) for m in "RME")

    return every([less(spread(P), SIMILAR), least(spread(P), [spread(C), spread(X)])])


@predicate
def pneumonia_below_covid(runs):
    return every(less(runs.f1(m, P), runs.f1(m, C)) for m in "RMET")


@predicate
def xray8_lowest(runs):
    return every(least(runs.f1(m, X), [runs.f1(m, P), runs.f1(m, C)]) for m in "RMET")


@predicate
def headline_f1(runs):
    printed = {P: (0.8, 0.05), C: (0.98, 0.02), X: (0.46, 0.03)}
    return every(less(abs(most(runs.f1(m, d) for m in "RMET") - value), half) for d, (value, half) in printed.items())


@predicate
def mobilenet_most_epochs(runs):
    return every(greatest(runs.best_epoch("M", d), [runs.best_epoch(m, d) for m in "RE"]) for d in ALL)


@predicate
def bigger_overfits_earlier(runs):
    ordered = [("E", "M"), ("R", "E")]
    return every(
        less(runs.best_epoch(bigger, d), runs.best_epoch(smaller, d)) for d in ALL for bigger, smaller in ordered
    )


@predicate
def mobilenet_most_unstable(runs):
    return every(greatest(runs.instability("M", d), [runs.instability(m, d) for m in "RE"]) for d in ALL)


@predicate
def transfer_quicker_than_scratch(runs):
    sooner = [less(runs.best_epoch("T", d), runs.best_epoch("E", d)) for d in (C, X)]
    return every([*sooner, less(runs.best_epoch("E", P), runs.best_epoch("T", P))])


@predicate
def transfer_quicker_than_all(runs):
    return every(least(runs.best_epoch("T", d), [runs.best_epoch(m, d) for m in "RME"]) for d in (C, X))


@predicate
def transfer_much_quicker(runs):
    return every(less(runs.best_epoch("T", d), 0.75 * runs.best_epoch("E", d)) for d in ALL)


@predicate
def transfer_better_start(runs):
    starts = [(runs.first_validation_f1("E", d), runs.first_validation_f1("T", d)) for d in ALL]
    return every(less(scratch + FAR_BETTER, pretrained) for scratch, pretrained in starts)


@predicate
def scratch_never_catches_up_pneumonia(runs):
    return less(runs.best_validation_f1("E", P), runs.best_validation_f1("T", P))


@predicate
def mobilenet_speed_below_expectation(runs):
    expected = runs.parameters("R") / runs.parameters("M")
    return every(less(runs.seconds("R", d) / runs.seconds("M", d), expected) for d in ALL)


@predicate
def architecture_ranking(runs):
    size = [less(runs.parameters("M"), runs.parameters("E")), less(runs.parameters("E"), runs.parameters("R"))]
    work = [less(runs.operations("M"), runs.operations("E")), less(runs.operations("E"), runs.operations("R"))]
    accuracy = [less(runs.top5("R"), runs.top5("M")), less(runs.top5("M"), runs.top5("E"))]
    return every([*size, *work, *accuracy])


@predicate
def efficientnet_third_of_resnet(runs):
    share = runs.parameters("E") / runs.parameters("R")
    return every([less(0.28, share), less(share, 0.40)])


@predicate
def class_weights_rescue_xray8(runs):
    without = runs.variant_f1("E", X, "-unweighted", "without class weights")
    return every([less(without, 0.05), less(without + 0.1, runs.f1("E", X))])


@predicate
def preprocessing_gains_four_points(runs):
    gain = runs.f1("E", C) - runs.variant_f1("E", C, "-unprepared", "without equalising and blur")
    if np.isnan(gain).all():
        return gain
    low, high = intervals.interval(gain.ravel())
    return np.full((1, 1), 0.0 if not low - ROUNDING <= 0.04 <= high + ROUNDING else 1.0 if low > 0 else 0.5)


@predicate
def pneumonia_normal_vs_rest_easy(runs):
    between = [less(0.5, runs.share_between_pneumonias(m, P)) for m in "RMET"]
    return every([*between, *(less(runs.f1(m, P), runs.normal_f1(m, P)) for m in "RMET")])


@predicate
def pneumonia_mobilenet_and_transfer_best(runs):
    return every(less(runs.f1(low, P), runs.f1(high, P)) for low in "RE" for high in "MT")


@predicate
def covid_transfer_best(runs):
    return greatest(runs.f1("T", C), [runs.f1(m, C) for m in "RME"])


@predicate
def transfer_better_separation(runs):
    purer = [greatest(runs.purity("T", d), [runs.purity(m, d) for m in "RME"]) for d in (P, C)]
    return every([*purer, *(greatest(runs.silhouette("T", d), [runs.silhouette(m, d) for m in "RME"]) for d in (P, C))])


@predicate
def separation_implies_generalisation(runs):
    elsewhere = [runs.external_f1(m, C) for m in "RMET"]
    by_purity = rank_correlation([runs.purity(m, C) for m in "RMET"], elsewhere)
    return less(rank_correlation([runs.f1(m, C) for m in "RMET"], elsewhere), by_purity)


def rank_correlation(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    """Spearman's correlation over models, in each draw; 0 if all models are equal."""
    stacked = np.stack(np.broadcast_arrays(*first, *second))
    if np.isnan(stacked).any():
        return np.full((1, 1), np.nan)
    of_models = (part.reshape(len(part), -1).T for part in np.split(stacked, 2))
    return np.nan_to_num(rank_correlations(*of_models)).reshape(stacked.shape[1:])


@predicate
def resnet_low_on_pneumonia(runs):
    others = ("ME", "MT", "ET")
    apart = [runs.heatmap_agreement("R", m, P) for m in "MET"]
    together = [runs.heatmap_agreement(first, second, P) for first, second in others]
    return every([least(runs.f1("R", P), [runs.f1(m, P) for m in "MET"]), less(sum(apart), sum(together))])


@predicate
def mobilenet_low_on_covid(runs):
    areas = {m: runs.heatmap("area", m, C, "covid") for m in "RMET"}
    widest = greatest(areas["M"], [areas[m] for m in "RET"])
    return every([least(runs.f1("M", C), [runs.f1(m, C) for m in "RET"]), widest])


@predicate
def cam_bacterial_one_sided(runs):
    kinds = ("viral_pneumonia", "bacterial_pneumonia")
    return every(less(*(runs.heatmap("asymmetry", m, P, kind) for kind in kinds)) for m in "RMET")


@predicate
def cam_covid_wider(runs):
    wider = [less(*(runs.heatmap("area", m, C, kind) for kind in ("viral_pneumonia", "covid"))) for m in "ET"]
    lower = [less(*(runs.heatmap("row", m, C, kind) for kind in ("covid", "viral_pneumonia"))) for m in "ET"]
    return every([*wider, *lower])


@predicate
def lr_0001_best(runs):
    best, others = runs.rate_f1(0.001), [runs.rate_f1(rate) for rate in (0.005, 0.01)]
    return every([*(less(other, best) for other in others), *(less(best, other + 0.02) for other in others)])


@predicate
def lr_high_worst(runs):
    return every(less(runs.rate_f1(high), runs.rate_f1(low)) for high in (0.05, 0.1) for low in (0.001, 0.005, 0.01))


@predicate
def lr_01_unstable(runs):
    jumps = greatest(runs.rate_instability(0.1), [runs.rate_instability(rate) for rate in RATES[:-1]])
    return every([jumps, less(1.5 * runs.rate_lowest_loss(0.001), runs.rate_lowest_loss(0.05))])


@predicate
def lr_0001_earliest(runs):
    steadiest = least(runs.rate_instability(0.001), [runs.rate_instability(rate) for rate in RATES[1:]])
    return every([steadiest, least(runs.rate_earliest(0.001), [runs.rate_earliest(rate) for rate in RATES[1:]])])


@predicate
def lr_001_lower_loss(runs):
    lower, other = runs.rate_lowest_loss(0.01), runs.rate_lowest_loss(0.001)
    return every([less(lower, other), less((1 - MARGINAL) * other, lower)])


@predicate
def lr_conclusion_names_transfer(runs):
    return runs.ablation_pretrained()


def judge(truth: Truth, *, missing: bool = True) -> str:
    """The verdict on a predicate's truth. `missing`: unknown values were not run, rather than run and too few."""
    parts = truth.parts if isinstance(truth, Joined) and truth.parts else (np.asarray(truth),)
    each = [judge(part) if isinstance(part, Joined) and part.parts else _sure(part, len(parts)) for part in parts]
    decisive, agreed = (HOLDS, FAILS) if isinstance(truth, Joined) and not truth.all_of else (FAILS, HOLDS)
    if decisive in each:
        return decisive
    if all(verdict == agreed for verdict in each):
        return agreed
    return NOT_RUN if missing and any(np.isnan(np.asarray(part)).any() for part in parts) else CANNOT_TELL


def _sure(truth: np.ndarray, parts: int) -> str:
    """The verdict on one of `parts` comparisons.

    Since one comparison alone can make the claim fail, the level is divided by their number (Bonferroni). The level is
    2.5 % rather than 5 %, as the draws of few patients vary less than test sets do: at 5 % / parts, claims about equal
    models fail in up to 8 % of simulated studies of 60 patients and 7 % of 150, at 2.5 % / parts in about 5 % of
    either.
    """
    unknown = np.isnan(truth)
    at_least, at_most = np.where(unknown, 0.0, truth).mean(), np.where(unknown, 1.0, truth).mean()
    if at_least >= SURE:
        return HOLDS
    return FAILS if at_most <= (1 - SURE) / 2 / parts + ROUNDING else CANNOT_TELL


def verdicts(evidence: Evidence) -> pd.DataFrame:
    """The ledger: one row per claim, with COLUMNS.

    holds_in_paper is true, false or "not checkable"; share_true is the share of draws and seeds in which the claim is
    true (ties count half), NaN if unknown; figures are the values behind the verdict; reason says why it is not
    clearer. Empty if no run uses a collection of the paper, which makes no claims about others.
    """
    if not evidence.of_the_paper:
        return pd.DataFrame(columns=COLUMNS)
    rows = []
    for name, words in claims().items():
        evidence.forget()
        truth = PREDICATES[name](evidence)
        verdict = judge(truth, missing=bool(evidence.missing))
        if lacking := evidence.lacks(words.get("needs", "")):
            evidence.missing.insert(0, lacking)
            verdict = NOT_RUN
        known = not np.isnan(np.asarray(truth)).all() and verdict != NOT_RUN
        share = float(np.nanmean(np.asarray(truth))) if known else float("nan")
        in_paper = words["holds_in_paper"]
        rows.append(
            words
            | {
                "id": name,
                "verdict": verdict,
                "holds_in_paper": str(in_paper).lower() if isinstance(in_paper, bool) else in_paper,
                "share_true": share,
                "seeds": evidence.seeds,
                "figures": _listed(evidence.figures),
                "reason": _reason(verdict, share, evidence),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _listed(figures: Mapping[str, Mapping[str, float]]) -> str:
    """macro F1: Pneumonia ResNet 0.861, MobileNet 0.842; COVID-19 ResNet 0.9. best epoch: ..."""
    sentences = []
    for quantity, named in figures.items():
        groups: dict[str, list[str]] = {}
        for name, value in named.items():
            group, _, short = name.rpartition(": ")
            groups.setdefault(group, []).append(f"{short} {_figure(value)}")
        parts = [f"{group} {', '.join(listed)}".strip() for group, listed in groups.items()]
        sentences.append(f"{quantity}: {'; '.join(parts)}")
    return ". ".join(sentences)


def _figure(value: float) -> str:
    if np.isnan(value):
        return "not defined"
    return "never" if np.isinf(value) else f"{value:.3g}"


def _reason(verdict: str, share: float, evidence: Evidence) -> str:
    if verdict == NOT_RUN:
        asked = dict.fromkeys(evidence.missing)
        return f"not in this study: {'; '.join(list(asked)[:3])}" + ("; and more" if len(asked) > 3 else "")
    if verdict == CANNOT_TELL:
        return "; ".join(dict.fromkeys(evidence.thin)) or f"true in {share:.0%} of the draws"
    return ""
