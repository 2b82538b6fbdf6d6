"""Temperatures that were planted are found; errors equal closed forms and scikit-learn's; test never fits anything."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, f1_score, precision_recall_curve

from lungkeras.evaluation import calibration
from lungkeras.scores import intervals, metrics, temperature
from lungkeras.study.runs import Run

CLASSES = {"multiclass": ("covid", "viral_pneumonia", "normal"), "multilabel": ("effusion", "mass", "no_finding")}
TASKS = tuple(CLASSES)


def calibrated(task: str, scans: int, seed: int = 0):
    """(labels, logits): labels drawn from the very probabilities that the logits give."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(scans, 3))
    given = metrics.probabilities(logits, task).astype(float)
    if task == "multilabel":
        return (random.random(given.shape) < given).astype(int), logits
    drawn = (random.random((scans, 1)) > given.cumsum(axis=1)).sum(axis=1).clip(max=2)
    return np.eye(3, dtype=int)[drawn], logits


def run_of(task: str, scale: float = 3.0, scans: int = 600) -> Run:
    """A run whose logits are `scale` times too large."""
    frames = []
    for seed, split in enumerate(("train", "val", "test")):
        labels, logits = calibrated(task, scans, seed)
        given = metrics.probabilities(scale * logits, task)
        frame = pd.DataFrame({"split": split, "scan": range(scans), "patient": np.arange(scans) // 2})
        for place, name in enumerate(CLASSES[task]):
            frame[f"label_{name}"], frame[f"probability_{name}"] = labels[:, place], given[:, place]
        frames.append(frame)
    dataset = "xray8" if task == "multilabel" else "covid"
    params = {"dataset": dataset, "backbone": "resnet34", "weights": "random", "learning_rate": 0.01}
    return Run(f"{dataset}-resnet34-random", params, pd.DataFrame(), pd.concat(frames), {}, CLASSES[task], task)


@pytest.mark.parametrize("task", TASKS)
def test_logits_come_back_from_probabilities(task):
    _, logits = calibrated(task, 200)
    given = metrics.probabilities(logits, task)
    np.testing.assert_allclose(temperature.scaled(given, task, 1.0), given, atol=1e-6)
    np.testing.assert_allclose(temperature.scaled(given, task, 3.0), metrics.probabilities(logits / 3, task), atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_logits_scaled_by_three_give_a_temperature_of_three(task, scale):
    labels, logits = calibrated(task, 20_000)
    given = metrics.probabilities(scale * logits, task)
    assert temperature.fit_temperature(labels, given, task) == pytest.approx(scale, abs=0.1)


def test_what_validation_can_not_tell_is_left_as_it_is():
    labels = np.eye(3, dtype=int)
    assert temperature.fit_temperature(labels, 0.1 + 0.7 * labels, "multiclass") == 1.0
    assert temperature.fit_temperature(labels[:0], labels[:0], "multiclass") == 1.0
    assert temperature.fit_temperature(labels, np.full((3, 3), np.nan), "multiclass") == 1.0


@pytest.mark.parametrize("task", TASKS)
def test_scaling_changes_no_decision(task):
    _, logits = calibrated(task, 500)
    given = metrics.probabilities(3 * logits, task)
    np.testing.assert_array_equal(
        metrics.decide(given, task), metrics.decide(temperature.scaled(given, task, 2.3), task)
    )


def test_the_error_is_the_gap_of_each_bin_weighted_by_its_answers():
    # 0.9 four times, half of them right; 0.6 twice, both right: (4 * 0.4 + 2 * 0.4) / 6.
    given = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]])
    assert calibration.expected_calibration_error(labels, given, "multiclass") == pytest.approx(0.4)
    assert calibration.expected_calibration_error(labels, labels, "multiclass") == 0
    assert calibration.expected_calibration_error(labels, 1.0 - labels, "multilabel") == 1


def test_brier_scores_are_those_of_scikit_learn():
    labels, logits = calibrated("multilabel", 300)
    given = metrics.probabilities(logits, "multilabel").astype(float)
    expected = np.mean([brier_score_loss(labels[:, column], given[:, column]) for column in range(3)])
    assert calibration.brier_of_scans(labels, given, "multilabel").mean() == pytest.approx(expected, abs=1e-12)
    labels, logits = calibrated("multiclass", 300)
    given = metrics.probabilities(logits, "multiclass").astype(float)
    expected = sum(brier_score_loss(labels[:, column], given[:, column]) for column in range(3))
    assert calibration.brier_of_scans(labels, given, "multiclass").mean() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_scaling_brings_the_error_of_an_oversure_run_below_its_null_band(task):
    run = run_of(task, scans=4000)
    row = calibration.calibration({run.name: run}).iloc[0]
    assert row["temperature"] == pytest.approx(3, abs=0.2)
    assert row["ece"] > row["ece_null"] and row["ece_scaled"] < row["ece_scaled_null"]
    assert row["ece_low"] <= row["ece"] <= row["ece_high"]
    assert row["brier_scaled"] < row["brier"] and row["loss_scaled"] < row["loss"]
    curves = calibration.reliability({run.name: run})
    assert curves.groupby("scaled")["answers"].sum().tolist() == [4000 if task == "multiclass" else 12_000] * 2
    gap = (curves["confidence"] - curves["share"]).abs() * curves["answers"]
    before = gap[~curves["scaled"]].sum() / curves.loc[~curves["scaled"], "answers"].sum()
    assert before == pytest.approx(row["ece"])


def test_a_temperature_stored_with_the_run_is_used():
    run = run_of("multiclass")
    assert calibration.temperature_of(replace(run, metrics={"temperature": 1.5})) == 1.5
    assert calibration.temperature_of(run) == pytest.approx(3, abs=0.5)


def test_a_threshold_is_that_of_the_highest_f1_of_all():
    labels, logits = calibrated("multilabel", 400)
    given = metrics.probabilities(logits - 1, "multilabel")
    for column, threshold in enumerate(calibration.fit_thresholds(labels, given)):
        precision, recall, _ = precision_recall_curve(labels[:, column], given[:, column])
        best = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-9))
        assert f1_score(labels[:, column], given[:, column] >= threshold) == pytest.approx(best)
    nothing = np.zeros((5, 1), dtype=int)
    assert calibration.fit_thresholds(nothing, np.full((5, 1), 0.2)).tolist() == [0.5]


def test_thresholds_never_read_the_test_split():
    run = run_of("multilabel")
    found = calibration.thresholds({run.name: run})
    predictions = run.predictions.copy()
    test = predictions["split"] == "test"
    predictions.loc[test, [f"label_{name}" for name in run.classes]] ^= 1
    other = calibration.thresholds({run.name: replace(run, predictions=predictions)})
    names = [f"threshold_{name}" for name in run.classes]
    pd.testing.assert_frame_equal(found[names], other[names])
    assert found["macro_f1_tuned"].iloc[0] != other["macro_f1_tuned"].iloc[0]


def test_scans_called_clear_and_sick_are_counted():
    decided = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])
    assert calibration.contradictory(decided, CLASSES["multilabel"]) == 0.25
    assert np.isnan(calibration.contradictory(decided, ("a", "b", "c")))


def weighted_run(scans: int = 20_000) -> Run:
    """A perfect model of rare findings, behind the weights that a loss of negatives over positives gives it."""
    frames, weights = [], None
    for seed, split in enumerate(("train", "val", "test")):
        random = np.random.default_rng(seed)
        logits = random.normal(size=(scans, 3)) - (1.0, 3.0, 4.0)
        labels = (random.random(logits.shape) < metrics.probabilities(logits, "multilabel")).astype(int)
        weights = metrics.positive_weights(labels) if weights is None else weights
        given = metrics.probabilities(logits + np.log(weights), "multilabel")
        frame = pd.DataFrame({"split": split, "scan": range(scans), "patient": range(scans)})
        for place, name in enumerate(CLASSES["multilabel"]):
            frame[f"label_{name}"], frame[f"probability_{name}"] = labels[:, place], given[:, place]
        frames.append(frame)
    params = {"dataset": "xray8", "backbone": "resnet34", "weights": "random", "class_weights": True}
    return Run(
        "xray8-resnet34-random", params, pd.DataFrame(), pd.concat(frames), {}, CLASSES["multilabel"], "multilabel"
    )


def test_the_weights_of_the_loss_are_taken_out_and_the_prevalence_comes_back():
    run = weighted_run()
    labels, raw = calibration.split_of(run, "test")
    given = calibration.calibrated(run, "test")
    np.testing.assert_allclose(given.mean(axis=0), labels.mean(axis=0), atol=0.01)
    assert (raw.mean(axis=0) > labels.mean(axis=0) + 0.1).all()
    found = calibration.correction_of(run)
    expected = np.log(metrics.positive_weights(calibration.split_of(run, "train")[0]))
    np.testing.assert_allclose(found.prior_shift, expected, rtol=1e-6)
    np.testing.assert_allclose(found.temperatures, 1, atol=0.1)
    row = calibration.calibration({run.name: run}).iloc[0]
    assert row["ece_scaled"] < 0.01 < 0.1 < row["ece"]
    assert row["ece_class_scaled"] < 0.01 < 0.1 < row["ece_class"]


def test_the_closed_form_is_where_the_weighted_loss_is_least():
    """Of one class with a share p of positives, the weighted loss of a constant logit is least at the shifted logit."""
    share, weight = 0.03, 12.0
    labels = (np.arange(10_000) < share * 10_000).astype(float)[:, None]
    grid = np.linspace(-6, 6, 2401)
    losses = [metrics.cross_entropy(labels, np.full_like(labels, z), "multilabel", np.array([weight])) for z in grid]
    best = grid[int(np.argmin(losses))]
    (shift,) = temperature.prior_shift(np.array([weight]), 1)
    assert best - shift == pytest.approx(np.log(share / (1 - share)), abs=0.006)


def test_a_correction_is_read_as_it_was_stored_and_an_older_multilabel_one_is_fitted_anew():
    run = weighted_run(4000)
    found = calibration.correction_of(run)
    assert calibration.correction_of(replace(run, metrics=found.as_dict())) == found
    assert calibration.correction_of(replace(run, metrics={"temperature": 2.5})) == found
    assert calibration.correction_of(replace(run, params=run.params | {"class_weights": False})).prior_shift == (0,) * 3
    assert temperature.read_correction({"temperature": 2.0}, 2) == temperature.Correction((0.0, 0.0), (2.0, 2.0))
    for broken in ({"temperatures": [1.0]}, {"prior_shift": ["a", 0]}, {"prior_shift": [float("nan"), 0]}):
        with pytest.raises((ValueError, TypeError)):
            temperature.read_correction(broken, 2)


def test_class_wise_error_is_the_mean_of_each_classs_own():
    labels, logits = calibrated("multilabel", 500)
    given = metrics.probabilities(2 * logits, "multilabel")
    own = [calibration.expected_calibration_error(labels[:, [c]], given[:, [c]], "multilabel") for c in range(3)]
    assert calibration.class_wise_error(labels, given) == pytest.approx(np.mean(own))


@pytest.mark.parametrize("each", [1, 5])
def test_the_chance_band_holds_for_scans_that_are_alike_within_a_patient(each):
    """A perfectly calibrated model stays below it in about 19 of 20 test sets, also where a patient's scans are one."""
    random, below = np.random.default_rng(each), []
    for seed in range(120):
        given = 1 / (1 + np.exp(-1.5 * random.normal(size=60)))
        so = (random.random(60) < given).astype(float)
        sure, so = (np.repeat(part, each)[:, None] for part in (given, so))
        patients = np.repeat(np.arange(60), each)
        error = calibration.error_of_bins(calibration.in_bins(sure, so).sum(axis=0))
        below.append(error <= calibration.null_error(sure, so, patients, seed=seed))
    assert 0.95 - 0.05 <= np.mean(below) <= 0.995
    assert calibration.shared_within_patients(sure, so, patients) == pytest.approx(float(each > 1), abs=1e-6)


def brier_of_one(labels, given):
    return ((given - labels) ** 2).sum(axis=1)


def test_the_brier_score_of_wrong_answers_is_that_of_changed_labels():
    labels, logits = calibrated("multiclass", 40)
    given = metrics.probabilities(logits, "multiclass").astype(float)
    others = [np.roll(labels, step, axis=1) for step in (1, 2)]
    expected = np.mean([brier_of_one(other, given) for other in others], axis=0)
    np.testing.assert_allclose(calibration.brier_of_wrong_answers(labels, given, "multiclass"), expected, atol=1e-12)
    labels, logits = calibrated("multilabel", 40)
    given = metrics.probabilities(logits, "multilabel").astype(float)
    turned = []
    for column in range(3):
        other = labels.copy()
        other[:, column] ^= 1
        turned.append(brier_of_one(other, given) / 3)
    found = calibration.brier_of_wrong_answers(labels, given, "multilabel")
    np.testing.assert_allclose(found, np.mean(turned, axis=0), atol=1e-12)


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("scans", [45, 100, 300])
def test_intervals_of_brier_score_and_calibration_error_cover_where_errors_are_few(scans, rate):
    """A model of three classes that is sure, and wrong at a rate; truth from 300,000 scans."""

    def drawn(random, number):
        truth = random.integers(3, size=number)
        called = np.where(random.random(number) < rate, (truth + random.integers(1, 3, number)) % 3, truth)
        logits = 3 * np.eye(3)[called] + 0.7 * random.normal(size=(number, 3))
        return np.eye(3, dtype=int)[truth], metrics.probabilities(logits, "multiclass").astype(float)

    labels, given = drawn(np.random.default_rng(0), 300_000)
    brier = calibration.brier_of_scans(labels, given, "multiclass").mean()
    ece = calibration.expected_calibration_error(labels, given, "multiclass")
    random, covered, studies = np.random.default_rng([scans, int(100 * rate)]), {"brier": [], "ece": []}, 120
    for _ in range(studies):
        labels, given = drawn(random, scans)
        wrong = calibration.brier_of_wrong_answers(labels, given, "multiclass")
        of_scans = calibration.brier_of_scans(labels, given, "multiclass")
        low, high = intervals.mean_interval(of_scans, wrong, np.arange(scans), draws=300)
        covered["brier"].append(low <= brier <= high)
        low, high = calibration.error_interval(
            calibration.in_bins(*calibration.answers(labels, given, "multiclass")), draws=400
        )
        covered["ece"].append(low <= ece <= high)
    error = 2 * np.sqrt(0.05 * 0.95 / studies)
    assert min(map(np.mean, covered.values())) >= 0.92 - error, covered


@pytest.mark.parametrize("scans", [45, 100, 300])
def test_the_interval_of_the_calibration_error_covers_the_true_one(scans):
    """An oversure model, whose logits are half as large again as they should be; truth from a million scans."""

    def drawn(random, number):
        logits = 1.5 * random.normal(size=number)
        labels = random.random(number) < 1 / (1 + np.exp(-logits))
        return labels[:, None].astype(int), 1 / (1 + np.exp(-1.5 * logits))[:, None]

    truth = calibration.expected_calibration_error(*drawn(np.random.default_rng(0), 1_000_000), "multilabel")
    random, covered, studies = np.random.default_rng(scans), [], 150
    for _ in range(studies):
        sums = calibration.in_bins(*calibration.answers(*drawn(random, scans), "multilabel"))
        low, high = calibration.error_interval(sums, draws=400)
        covered.append(low <= truth <= high)
        assert low < high
    assert np.mean(covered) >= 0.92 - 2 * np.sqrt(0.05 * 0.95 / studies)


def test_answers_of_which_nothing_is_known_are_not_counted():
    labels, logits = calibrated("multilabel", 400)
    given = metrics.probabilities(1.5 * logits, "multilabel")
    labels = labels.astype(float)
    labels[np.random.default_rng(1).random(labels.shape) < 0.3] = np.nan
    known = ~np.isnan(labels)
    own, asked = labels[known].astype(int)[:, None], given[known][:, None]  # as answers of one class
    error = calibration.expected_calibration_error(own, asked, "multilabel")
    assert calibration.expected_calibration_error(labels, given, "multilabel") == pytest.approx(error)
    brier = calibration.brier_of_scans(labels, given, "multilabel")
    assert brier.shape == (400,) and brier.mean() == pytest.approx(brier_score_loss(own[:, 0], asked[:, 0]))
    columns = [(labels[known[:, place], place][:, None], given[known[:, place], place][:, None]) for place in range(3)]
    by_class = [calibration.expected_calibration_error(*column, "multilabel") for column in columns]
    assert calibration.class_wise_error(labels, given) == pytest.approx(np.mean(by_class))
    chosen = [calibration.fit_thresholds(*column)[0] for column in columns]
    assert calibration.fit_thresholds(labels, given).tolist() == chosen
    sure, so = calibration.answers(labels, given, "multilabel")
    patients = np.arange(400) // 2
    band = calibration.null_error(*calibration.answers(own, asked, "multilabel"), np.arange(len(own)))
    assert calibration.null_error(sure, so, patients) == pytest.approx(band, rel=0.2)


def test_tables_of_a_run_of_partly_known_labels_are_whole():
    run = run_of("multilabel")
    predictions = run.predictions.reset_index(drop=True).astype({"label_mass": float})
    predictions.loc[predictions.index % 3 == 0, "label_mass"] = np.nan
    run = replace(run, predictions=predictions)
    table = calibration.calibration({run.name: run}).iloc[0]
    assert table.drop(["run", "dataset", "backbone", "weights"]).astype(float).notna().all()
    assert table["temperature"] == pytest.approx(3, rel=0.2)
    assert calibration.thresholds({run.name: run}).iloc[0].drop(["run", "dataset", "backbone", "weights"]).notna().all()
    assert calibration.reliability({run.name: run})["answers"].groupby(lambda _: 0).sum()[0] == 2 * (1200 + 400)
