"""Thresholds from validation alone, shares counted by hand, intervals of SciPy, predictive values by Bayes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from lungkeras.evaluation import operating_points
from lungkeras.report import calibration_tables
from lungkeras.scores import share_intervals
from lungkeras.study.runs import Run

CLASSES = ("effusion", "mass", "no_finding")


def run_of(scans: int = 300, each: int = 1, rare: int | None = None) -> Run:
    """Findings with noisy probabilities; a patient has `each` scans, and `rare` scans of test are masses."""
    frames = []
    for seed, split in enumerate(("train", "val", "test")):
        random = np.random.default_rng(seed)
        labels = (random.random((scans, 3)) < (0.4, 0.3, 0.5)).astype(int)
        if rare is not None and split == "test":
            labels[:, 1] = np.arange(scans) < rare
        given = 1 / (1 + np.exp(-(1.5 * labels + random.normal(size=labels.shape)))).astype(np.float32)
        frame = pd.DataFrame({"split": split, "scan": range(scans), "patient": np.arange(scans) // each})
        for place, name in enumerate(CLASSES):
            frame[f"label_{name}"], frame[f"probability_{name}"] = labels[:, place], given[:, place]
        frames.append(frame)
    params = {"dataset": "xray8", "backbone": "resnet34", "weights": "random"}
    return Run("xray8-resnet34-random", params, pd.DataFrame(), pd.concat(frames), {}, CLASSES, "multilabel")


def test_the_threshold_keeps_the_specificity_and_no_more():
    scores, labels = np.r_[np.arange(1, 21) / 100, 0.5], np.r_[np.zeros(20), 1]
    for asked, kept in ((0.9, 18), (0.95, 19), (0.5, 10), (0.91, 19)):
        threshold = operating_points.threshold_at(labels, scores, asked)
        assert (scores[:20] < threshold).sum() == kept
    tied = operating_points.threshold_at(np.zeros(4), np.full(4, 0.3), 0.9)
    assert tied > 0.3 and tied == pytest.approx(0.3)
    assert np.isnan(operating_points.threshold_at(np.ones(3), np.ones(3), 0.9))


def test_shares_are_those_of_a_confusion_matrix_and_intervals_those_of_clopper_and_pearson():
    run = run_of()
    found = operating_points.operating_points({run.name: run}, [run.name])
    assert list(found.columns) == operating_points.COLUMNS and len(found) == 6 and found["chosen"].all()
    validation = run.predictions[run.predictions["split"] == "val"]
    test = run.predictions[run.predictions["split"] == "test"]
    for row in found.to_dict("records"):
        label, score = f"label_{row['class']}", f"probability_{row['class']}"
        negatives = validation.loc[validation[label] == 0, score]
        assert (negatives < row["threshold"]).mean() >= row["asked"] > (negatives < row["threshold"]).mean() - 0.02
        called = test[score] >= row["threshold"]
        (clear, alarms), (missed, hits) = confusion_matrix(test[label], called)
        assert row["sensitivity"] == pytest.approx(hits / (hits + missed))
        assert row["specificity"] == pytest.approx(clear / (clear + alarms))
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(test[label], called))
        exact = binomtest(int(hits), int(hits + missed)).proportion_ci()
        assert (row["sensitivity_low"], row["sensitivity_high"]) == pytest.approx(exact, abs=2e-3)
        shown = row["ppv_10"] * (0.1 * row["sensitivity"] + 0.9 * (1 - row["specificity"]))
        assert shown == pytest.approx(0.1 * row["sensitivity"])
        assert row["balanced_accuracy_low"] < row["balanced_accuracy"] < row["balanced_accuracy_high"]


def test_the_threshold_never_reads_the_test_split_and_a_class_of_few_patients_has_no_interval():
    run = run_of(rare=9)
    rows = operating_points.operating_points({run.name: run}).set_index(["class", "asked"])
    few = rows.loc[("mass", 0.9)]
    assert few["note"] == "too few" and np.isnan(few["sensitivity_low"]) and few["patients"] == 9
    assert rows.loc[("effusion", 0.9), "note"] == ""
    frame = run.predictions.copy()
    frame.loc[frame["split"] == "test", [f"probability_{name}" for name in CLASSES]] = 0.5
    other = operating_points.operating_points({run.name: replace(run, predictions=frame)})
    np.testing.assert_array_equal(other["threshold"], rows["threshold"])
    cells = calibration_tables.operating_points(rows.reset_index().assign(chosen=True))["bodies"][0]["rows"][2]
    assert cells[0]["text"] == "Mass, at 90%" and cells[2]["text"].endswith(" (too few)")


def test_scans_of_one_patient_do_not_narrow_the_interval():
    share = np.r_[np.ones(30), np.zeros(10)]
    once = share_intervals.exact_share_interval(share, np.arange(40))
    fivefold = share_intervals.exact_share_interval(np.repeat(share, 5), np.repeat(np.arange(40), 5))
    assert fivefold == pytest.approx(once, abs=1e-9)
    assert share_intervals.exact_share_interval(np.ones(20), np.arange(20)) == pytest.approx((0.025 ** (1 / 20), 1))
    assert np.isnan(share_intervals.exact_share_interval(np.ones(3), np.zeros(3))).all()


def test_a_model_without_numbers_has_no_operating_point():
    run = run_of()
    frame = run.predictions.assign(probability_mass=np.nan)
    found = operating_points.operating_points({run.name: replace(run, predictions=frame)}).set_index("class")
    assert found.loc["mass", ["threshold", "sensitivity"]].isna().all().all()


def test_a_ratio_has_the_limits_that_fieller_gives_to_normal_estimates():
    """Of symmetric limits, MOVER-R is Fieller's interval: the roots of (a - r b)^2 = z^2 (s^2 + r^2 t^2)."""
    a, b, s, t = 0.8, 0.3, 0.05, 0.04
    roots = np.roots([b**2 - t**2, -2 * a * b, a**2 - s**2])
    found = operating_points.ratio_interval((a, a - s, a + s), (b, b - t, b + t))
    assert found == pytest.approx(tuple(sorted(roots)))
    low, high = operating_points.ratio_interval((0.9, 0.8, 0.95), (0.0, 0.0, 0.04))
    assert low == pytest.approx(np.sqrt(0.8 * 1.0) / 0.04) and high == np.inf


def test_predictive_intervals_hold_the_truth_as_often_as_they_promise():
    random, sensitivity, specificity, held = np.random.default_rng(0), 0.85, 0.9, []
    truth = dict(zip(("ppv", "npv"), operating_points.predictive_values(sensitivity, specificity, 0.1), strict=True))
    for _ in range(400):
        shares = []
        for share, scans in ((sensitivity, 60), (specificity, 240)):
            hits = int(random.binomial(scans, share))
            shares.append((hits / scans, *binomtest(hits, scans).proportion_ci()))
        found = operating_points.predictive_intervals(*shares, 0.1)
        held.append([found[name][0] <= truth[name] <= found[name][1] for name in truth])
    assert (np.mean(held, axis=0) >= 0.94).all()
