"""Thresholds have the highest F1 of all, and never read the test split."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from calibrated_runs import CLASSES, calibrated_logits, run_of
from sklearn.metrics import f1_score, precision_recall_curve

from lungkeras.evaluation import decision_thresholds
from lungkeras.scores import metrics


def test_a_threshold_is_that_of_the_highest_f1_of_all():
    labels, logits = calibrated_logits("multilabel", 400)
    given = metrics.probabilities(logits - 1, "multilabel")
    for column, threshold in enumerate(decision_thresholds.fit_thresholds(labels, given)):
        precision, recall, _ = precision_recall_curve(labels[:, column], given[:, column])
        best = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-9))
        assert f1_score(labels[:, column], given[:, column] >= threshold) == pytest.approx(best)
    nothing = np.zeros((5, 1), dtype=int)
    assert decision_thresholds.fit_thresholds(nothing, np.full((5, 1), 0.2)).tolist() == [0.5]


def test_thresholds_never_read_the_test_split():
    run = run_of("multilabel")
    found = decision_thresholds.thresholds({run.name: run})
    predictions = run.predictions.copy()
    test = predictions["split"] == "test"
    predictions.loc[test, [f"label_{name}" for name in run.classes]] ^= 1
    other = decision_thresholds.thresholds({run.name: replace(run, predictions=predictions)})
    names = [f"threshold_{name}" for name in run.classes]
    pd.testing.assert_frame_equal(found[names], other[names])
    assert found["macro_f1_tuned"].iloc[0] != other["macro_f1_tuned"].iloc[0]


def test_scans_called_clear_and_sick_are_counted():
    decided = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])
    assert decision_thresholds.contradictory(decided, CLASSES["multilabel"]) == 0.25
    assert np.isnan(decision_thresholds.contradictory(decided, ("a", "b", "c")))
