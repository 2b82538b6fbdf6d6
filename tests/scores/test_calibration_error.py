"""Calibration errors and Brier scores equal closed forms and scikit-learn's; their intervals cover the truth."""

import numpy as np
import pytest
from calibrated_runs import calibrated_logits
from sklearn.metrics import brier_score_loss

from lungkeras.scores import calibration_error, intervals, metrics


def test_the_error_is_the_gap_of_each_bin_weighted_by_its_answers():
    # 0.9 four times, half of them right; 0.6 twice, both right: (4 * 0.4 + 2 * 0.4) / 6.
    given = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]])
    assert calibration_error.expected_calibration_error(labels, given, "multiclass") == pytest.approx(0.4)
    assert calibration_error.expected_calibration_error(labels, labels, "multiclass") == 0
    assert calibration_error.expected_calibration_error(labels, 1.0 - labels, "multilabel") == 1


def test_brier_scores_are_those_of_scikit_learn():
    labels, logits = calibrated_logits("multilabel", 300)
    given = metrics.probabilities(logits, "multilabel").astype(float)
    expected = np.mean([brier_score_loss(labels[:, column], given[:, column]) for column in range(3)])
    assert calibration_error.brier_of_scans(labels, given, "multilabel").mean() == pytest.approx(expected, abs=1e-12)
    labels, logits = calibrated_logits("multiclass", 300)
    given = metrics.probabilities(logits, "multiclass").astype(float)
    expected = sum(brier_score_loss(labels[:, column], given[:, column]) for column in range(3))
    assert calibration_error.brier_of_scans(labels, given, "multiclass").mean() == pytest.approx(expected, abs=1e-12)


def test_class_wise_error_is_the_mean_of_each_classs_own():
    labels, logits = calibrated_logits("multilabel", 500)
    given = metrics.probabilities(2 * logits, "multilabel")
    own = [calibration_error.expected_calibration_error(labels[:, [c]], given[:, [c]], "multilabel") for c in range(3)]
    assert calibration_error.class_wise_error(labels, given) == pytest.approx(np.mean(own))


@pytest.mark.parametrize("each", [1, 5])
def test_the_chance_band_holds_for_scans_that_are_alike_within_a_patient(each):
    """A perfectly calibrated model stays below it in about 19 of 20 test sets, also where a patient's scans are one."""
    random, below = np.random.default_rng(each), []
    for seed in range(120):
        given = 1 / (1 + np.exp(-1.5 * random.normal(size=60)))
        correct = (random.random(60) < given).astype(float)
        confidence, correct = (np.repeat(part, each)[:, None] for part in (given, correct))
        patients = np.repeat(np.arange(60), each)
        error = calibration_error.error_of_bins(calibration_error.in_bins(confidence, correct).sum(axis=0))
        below.append(error <= calibration_error.null_error(confidence, correct, patients, seed=seed))
    assert 0.95 - 0.05 <= np.mean(below) <= 0.995
    assert calibration_error.shared_within_patients(confidence, correct, patients) == pytest.approx(
        float(each > 1), abs=1e-6
    )


def brier_of_one(labels, given):
    return ((given - labels) ** 2).sum(axis=1)


def test_the_brier_score_of_wrong_answers_is_that_of_changed_labels():
    labels, logits = calibrated_logits("multiclass", 40)
    given = metrics.probabilities(logits, "multiclass").astype(float)
    others = [np.roll(labels, step, axis=1) for step in (1, 2)]
    expected = np.mean([brier_of_one(other, given) for other in others], axis=0)
    np.testing.assert_allclose(
        calibration_error.brier_of_wrong_answers(labels, given, "multiclass"), expected, atol=1e-12
    )
    labels, logits = calibrated_logits("multilabel", 40)
    given = metrics.probabilities(logits, "multilabel").astype(float)
    turned = []
    for column in range(3):
        other = labels.copy()
        other[:, column] ^= 1
        turned.append(brier_of_one(other, given) / 3)
    found = calibration_error.brier_of_wrong_answers(labels, given, "multilabel")
    np.testing.assert_allclose(found, np.mean(turned, axis=0), atol=1e-12)


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("scans", [45, 100, 300])
def test_intervals_of_brier_score_and_calibration_error_cover_where_errors_are_few(scans, rate):
    """A confident model of three classes, wrong at a rate; truth from 300,000 scans."""

    def drawn(random, number):
        truth = random.integers(3, size=number)
        called = np.where(random.random(number) < rate, (truth + random.integers(1, 3, number)) % 3, truth)
        logits = 3 * np.eye(3)[called] + 0.7 * random.normal(size=(number, 3))
        return np.eye(3, dtype=int)[truth], metrics.probabilities(logits, "multiclass").astype(float)

    labels, given = drawn(np.random.default_rng(0), 300_000)
    brier = calibration_error.brier_of_scans(labels, given, "multiclass").mean()
    ece = calibration_error.expected_calibration_error(labels, given, "multiclass")
    random, covered, studies = np.random.default_rng([scans, int(100 * rate)]), {"brier": [], "ece": []}, 120
    for _ in range(studies):
        labels, given = drawn(random, scans)
        wrong = calibration_error.brier_of_wrong_answers(labels, given, "multiclass")
        of_scans = calibration_error.brier_of_scans(labels, given, "multiclass")
        low, high = intervals.mean_interval(of_scans, wrong, np.arange(scans), draws=300)
        covered["brier"].append(low <= brier <= high)
        low, high = calibration_error.error_interval(
            calibration_error.in_bins(*calibration_error.answers(labels, given, "multiclass")), draws=400
        )
        covered["ece"].append(low <= ece <= high)
    error = 2 * np.sqrt(0.05 * 0.95 / studies)
    assert min(map(np.mean, covered.values())) >= 0.92 - error, covered


@pytest.mark.parametrize("scans", [45, 100, 300])
def test_the_interval_of_the_calibration_error_covers_the_true_one(scans):
    """An overconfident model, whose logits are half as large again as they should be; truth from a million scans."""

    def drawn(random, number):
        logits = 1.5 * random.normal(size=number)
        labels = random.random(number) < 1 / (1 + np.exp(-logits))
        return labels[:, None].astype(int), 1 / (1 + np.exp(-1.5 * logits))[:, None]

    truth = calibration_error.expected_calibration_error(*drawn(np.random.default_rng(0), 1_000_000), "multilabel")
    random, covered, studies = np.random.default_rng(scans), [], 150
    for _ in range(studies):
        sums = calibration_error.in_bins(*calibration_error.answers(*drawn(random, scans), "multilabel"))
        low, high = calibration_error.error_interval(sums, draws=400)
        covered.append(low <= truth <= high)
        assert low < high
    assert np.mean(covered) >= 0.92 - 2 * np.sqrt(0.05 * 0.95 / studies)
