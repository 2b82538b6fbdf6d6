"""The predicates of the study's claims: each takes evidence and returns the truth of its claim (truth.py)."""

from collections.abc import Callable

import numpy as np

from lungkeras.evaluation.paper.evidence import C, Evidence, P, X
from lungkeras.evaluation.paper.truth import (
    ROUNDING,
    Truth,
    every,
    greatest,
    least,
    less,
    most,
    rank_correlation,
    some,
)
from lungkeras.scores import intervals

FAR_BETTER = 0.1  # of macro F1
SIMILAR = 0.04  # of macro F1; the paper calls 0.036 about equal
MARGINAL = 0.1  # of a loss
ALL = (P, C, X)
RATES = (0.001, 0.005, 0.01, 0.05, 0.1)

PREDICATES: dict[str, Callable[[Evidence], Truth]] = {}


def predicate(function: Callable[[Evidence], Truth]) -> Callable[[Evidence], Truth]:
    """Registers a predicate under its name, with dashes, as in claims.yaml."""
    PREDICATES[function.__name__.replace("_", "-")] = function
    return function


@predicate
def mobilenet_fastest_epoch(runs):
    return every(least(runs.value("seconds", "M", d), [runs.value("seconds", m, d) for m in "RET"]) for d in ALL)


@predicate
def efficientnet_slowest_epoch(runs):
    slower = [
        less(runs.value("seconds", fast, d), runs.value("seconds", slow, d))
        for d in ALL
        for slow in "ET"
        for fast in "RM"
    ]
    return every([*slower, less(runs.value("parameters", "E"), runs.value("parameters", "R"))])


def time_to_best(runs, m, d):
    return runs.value("seconds", m, d) * runs.value("best_epoch", m, d)


@predicate
def mobilenet_not_fastest_to_best(runs):
    return some(less(time_to_best(runs, m, d), time_to_best(runs, "M", d)) for d in ALL for m in "RET")


@predicate
def mobilenet_least_training_time(runs):
    def time(m, d):
        return runs.value("seconds", m, d) * runs.value("epochs", m, d)

    return every(least(time("M", d), [time(m, d) for m in "RET"]) for d in ALL)


@predicate
def resnet_fewest_epochs(runs):
    return every(least(runs.value("best_epoch", "R", d), [runs.value("best_epoch", m, d) for m in "MET"]) for d in ALL)


@predicate
def resnet_half_the_epochs(runs):
    return every(
        less(runs.value("best_epoch", "R", d) / runs.value("best_epoch", m, d), 0.55) for d in ALL for m in "MET"
    )


@predicate
def efficientnet_best_covid_xray8(runs):
    return every(greatest(runs.value("f1", "E", d), [runs.value("f1", m, d) for m in "RM"]) for d in (C, X))


@predicate
def efficientnet_family_best_but_pneumonia(runs):
    family = [
        less(most(runs.value("f1", m, d) for m in "RM"), most(runs.value("f1", m, d) for m in "ET")) for d in (C, X)
    ]
    return every([*family, greatest(runs.value("f1", "M", P), [runs.value("f1", m, P) for m in "RET"])])


@predicate
def pneumonia_architectures_similar(runs):
    def spread(d):
        return most(runs.value("f1", m, d) for m in "RME") + most(-runs.value("f1", m, d) for m in "RME")

    return every([less(spread(P), SIMILAR), least(spread(P), [spread(C), spread(X)])])


@predicate
def pneumonia_below_covid(runs):
    return every(less(runs.value("f1", m, P), runs.value("f1", m, C)) for m in "RMET")


@predicate
def xray8_lowest(runs):
    return every(least(runs.value("f1", m, X), [runs.value("f1", m, P), runs.value("f1", m, C)]) for m in "RMET")


@predicate
def headline_f1(runs):
    printed = {P: (0.8, 0.05), C: (0.98, 0.02), X: (0.46, 0.03)}
    return every(
        less(abs(most(runs.value("f1", m, d) for m in "RMET") - value), half) for d, (value, half) in printed.items()
    )


@predicate
def mobilenet_most_epochs(runs):
    return every(mobilenet_greatest(runs, "best_epoch", d) for d in ALL)


@predicate
def bigger_overfits_earlier(runs):
    ordered = [("E", "M"), ("R", "E")]
    return every(
        less(runs.value("best_epoch", bigger, d), runs.value("best_epoch", smaller, d))
        for d in ALL
        for bigger, smaller in ordered
    )


@predicate
def mobilenet_most_unstable(runs):
    return every(mobilenet_greatest(runs, "instability", d) for d in ALL)


def mobilenet_greatest(runs, quantity: str, dataset: str):
    """Whether a quantity of MobileNetV3 is above those of the other two networks from scratch."""
    return greatest(runs.value(quantity, "M", dataset), [runs.value(quantity, m, dataset) for m in "RE"])


@predicate
def transfer_quicker_than_scratch(runs):
    sooner = [less(runs.value("best_epoch", "T", d), runs.value("best_epoch", "E", d)) for d in (C, X)]
    return every([*sooner, less(runs.value("best_epoch", "E", P), runs.value("best_epoch", "T", P))])


@predicate
def transfer_quicker_than_all(runs):
    return every(
        least(runs.value("best_epoch", "T", d), [runs.value("best_epoch", m, d) for m in "RME"]) for d in (C, X)
    )


@predicate
def transfer_much_quicker(runs):
    return every(less(runs.value("best_epoch", "T", d), 0.75 * runs.value("best_epoch", "E", d)) for d in ALL)


@predicate
def transfer_better_start(runs):
    starts = [(runs.value("first_validation_f1", "E", d), runs.value("first_validation_f1", "T", d)) for d in ALL]
    return every(less(scratch + FAR_BETTER, pretrained) for scratch, pretrained in starts)


@predicate
def scratch_never_catches_up_pneumonia(runs):
    return less(runs.value("best_validation_f1", "E", P), runs.value("best_validation_f1", "T", P))


@predicate
def mobilenet_speed_below_expectation(runs):
    expected = runs.value("parameters", "R") / runs.value("parameters", "M")
    return every(less(runs.value("seconds", "R", d) / runs.value("seconds", "M", d), expected) for d in ALL)


@predicate
def architecture_ranking(runs):
    size = [
        less(runs.value("parameters", "M"), runs.value("parameters", "E")),
        less(runs.value("parameters", "E"), runs.value("parameters", "R")),
    ]
    work = [
        less(runs.value("operations", "M"), runs.value("operations", "E")),
        less(runs.value("operations", "E"), runs.value("operations", "R")),
    ]
    accuracy = [
        less(runs.value("top5", "R"), runs.value("top5", "M")),
        less(runs.value("top5", "M"), runs.value("top5", "E")),
    ]
    return every([*size, *work, *accuracy])


@predicate
def efficientnet_third_of_resnet(runs):
    share = runs.value("parameters", "E") / runs.value("parameters", "R")
    return every([less(0.28, share), less(share, 0.40)])


@predicate
def class_weights_rescue_xray8(runs):
    without = runs.variant_f1("E", X, "-unweighted", "without class weights")
    return every([less(without, 0.05), less(without + 0.1, runs.value("f1", "E", X))])


@predicate
def preprocessing_gains_four_points(runs):
    gain = runs.value("f1", "E", C) - runs.variant_f1("E", C, "-unprepared", "without equalising and blur")
    if np.isnan(gain).all():
        return gain
    low, high = intervals.interval(gain.ravel())
    return np.full((1, 1), 0.0 if not low - ROUNDING <= 0.04 <= high + ROUNDING else 1.0 if low > 0 else 0.5)


@predicate
def pneumonia_normal_vs_rest_easy(runs):
    between = [less(0.5, runs.value("share_between_pneumonias", m, P)) for m in "RMET"]
    return every([*between, *(less(runs.value("f1", m, P), runs.value("normal_f1", m, P)) for m in "RMET")])


@predicate
def pneumonia_mobilenet_and_transfer_best(runs):
    return every(less(runs.value("f1", low, P), runs.value("f1", high, P)) for low in "RE" for high in "MT")


@predicate
def covid_transfer_best(runs):
    return greatest(runs.value("f1", "T", C), [runs.value("f1", m, C) for m in "RME"])


@predicate
def transfer_better_separation(runs):
    purer = [greatest(runs.value("purity", "T", d), [runs.value("purity", m, d) for m in "RME"]) for d in (P, C)]
    return every(
        [
            *purer,
            *(
                greatest(runs.value("silhouette", "T", d), [runs.value("silhouette", m, d) for m in "RME"])
                for d in (P, C)
            ),
        ]
    )


@predicate
def separation_implies_generalisation(runs):
    elsewhere = [runs.value("external_f1", m, C) for m in "RMET"]
    by_purity = rank_correlation([runs.value("purity", m, C) for m in "RMET"], elsewhere)
    return less(rank_correlation([runs.value("f1", m, C) for m in "RMET"], elsewhere), by_purity)


@predicate
def resnet_low_on_pneumonia(runs):
    others = ("ME", "MT", "ET")
    apart = [runs.heatmap_agreement("R", m, P) for m in "MET"]
    together = [runs.heatmap_agreement(first, second, P) for first, second in others]
    return every(
        [least(runs.value("f1", "R", P), [runs.value("f1", m, P) for m in "MET"]), less(sum(apart), sum(together))]
    )


@predicate
def mobilenet_low_on_covid(runs):
    areas = {m: runs.value("area", m, C, label="covid") for m in "RMET"}
    widest = greatest(areas["M"], [areas[m] for m in "RET"])
    return every([least(runs.value("f1", "M", C), [runs.value("f1", m, C) for m in "RET"]), widest])


@predicate
def cam_bacterial_one_sided(runs):
    kinds = ("viral_pneumonia", "bacterial_pneumonia")
    return every(less(*(runs.value("asymmetry", m, P, label=kind) for kind in kinds)) for m in "RMET")


@predicate
def cam_covid_wider(runs):
    wider = [less(*(runs.value("area", m, C, label=kind) for kind in ("viral_pneumonia", "covid"))) for m in "ET"]
    lower = [less(*(runs.value("row", m, C, label=kind) for kind in ("covid", "viral_pneumonia"))) for m in "ET"]
    return every([*wider, *lower])


@predicate
def lr_0001_best(runs):
    best, others = runs.at_rate("f1", 0.001), [runs.at_rate("f1", rate) for rate in (0.005, 0.01)]
    return every([*(less(other, best) for other in others), *(less(best, other + 0.02) for other in others)])


@predicate
def lr_high_worst(runs):
    return every(
        less(runs.at_rate("f1", high), runs.at_rate("f1", low)) for high in (0.05, 0.1) for low in (0.001, 0.005, 0.01)
    )


@predicate
def lr_01_unstable(runs):
    jumps = greatest(runs.at_rate("instability", 0.1), [runs.at_rate("instability", rate) for rate in RATES[:-1]])
    return every([jumps, less(1.5 * runs.at_rate("lowest_loss", 0.001), runs.at_rate("lowest_loss", 0.05))])


@predicate
def lr_0001_earliest(runs):
    steadiest = least(runs.at_rate("instability", 0.001), [runs.at_rate("instability", rate) for rate in RATES[1:]])
    return every(
        [steadiest, least(runs.at_rate("earliest", 0.001), [runs.at_rate("earliest", rate) for rate in RATES[1:]])]
    )


@predicate
def lr_001_lower_loss(runs):
    lower, other = runs.at_rate("lowest_loss", 0.01), runs.at_rate("lowest_loss", 0.001)
    return every([less(lower, other), less((1 - MARGINAL) * other, lower)])


@predicate
def lr_conclusion_names_transfer(runs):
    return runs.share_pretrained()
