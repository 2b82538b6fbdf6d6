"""A correction brings the calibration error of overconfident runs down; the test split never fits anything."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from calibrated_runs import CLASSES, TASKS, calibrated_logits, run_of
from sklearn.metrics import brier_score_loss

from lungkeras.evaluation import calibration, decision_thresholds
from lungkeras.scores import calibration_error, metrics, temperature
from lungkeras.study.runs import Run


@pytest.mark.parametrize("task", TASKS)
def test_scaling_brings_the_error_of_an_overconfident_run_below_its_null_band(task):
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


def test_answers_of_which_nothing_is_known_are_not_counted():
    labels, logits = calibrated_logits("multilabel", 400)
    given = metrics.probabilities(1.5 * logits, "multilabel")
    labels = labels.astype(float)
    labels[np.random.default_rng(1).random(labels.shape) < 0.3] = np.nan
    known = ~np.isnan(labels)
    own, asked = labels[known].astype(int)[:, None], given[known][:, None]  # as answers of one class
    error = calibration_error.expected_calibration_error(own, asked, "multilabel")
    assert calibration_error.expected_calibration_error(labels, given, "multilabel") == pytest.approx(error)
    brier = calibration_error.brier_of_scans(labels, given, "multilabel")
    assert brier.shape == (400,) and brier.mean() == pytest.approx(brier_score_loss(own[:, 0], asked[:, 0]))
    columns = [(labels[known[:, place], place][:, None], given[known[:, place], place][:, None]) for place in range(3)]
    by_class = [calibration_error.expected_calibration_error(*column, "multilabel") for column in columns]
    assert calibration_error.class_wise_error(labels, given) == pytest.approx(np.mean(by_class))
    chosen = [decision_thresholds.fit_thresholds(*column)[0] for column in columns]
    assert decision_thresholds.fit_thresholds(labels, given).tolist() == chosen
    confidence, correct = calibration_error.answers(labels, given, "multilabel")
    patients = np.arange(400) // 2
    band = calibration_error.null_error(*calibration_error.answers(own, asked, "multilabel"), np.arange(len(own)))
    assert calibration_error.null_error(confidence, correct, patients) == pytest.approx(band, rel=0.2)


def test_tables_of_a_run_of_partly_known_labels_are_whole():
    run = run_of("multilabel")
    predictions = run.predictions.reset_index(drop=True).astype({"label_mass": float})
    predictions.loc[predictions.index % 3 == 0, "label_mass"] = np.nan
    run = replace(run, predictions=predictions)
    table = calibration.calibration({run.name: run}).iloc[0]
    assert table.drop(["run", "dataset", "backbone", "weights"]).astype(float).notna().all()
    assert table["temperature"] == pytest.approx(3, rel=0.2)
    assert (
        decision_thresholds.thresholds({run.name: run})
        .iloc[0]
        .drop(["run", "dataset", "backbone", "weights"])
        .notna()
        .all()
    )
    assert calibration.reliability({run.name: run})["answers"].groupby(lambda _: 0).sum()[0] == 2 * (1200 + 400)
