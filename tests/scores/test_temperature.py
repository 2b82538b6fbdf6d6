"""Temperatures that were planted are found, and change no decision."""

import numpy as np
import pytest
from calibrated_runs import TASKS, calibrated_logits

from lungkeras.scores import metrics, temperature


@pytest.mark.parametrize("task", TASKS)
def test_logits_come_back_from_probabilities(task):
    _, logits = calibrated_logits(task, 200)
    given = metrics.probabilities(logits, task)
    np.testing.assert_allclose(temperature.scaled(given, task, 1.0), given, atol=1e-6)
    np.testing.assert_allclose(temperature.scaled(given, task, 3.0), metrics.probabilities(logits / 3, task), atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_logits_scaled_by_three_give_a_temperature_of_three(task, scale):
    labels, logits = calibrated_logits(task, 20_000)
    given = metrics.probabilities(scale * logits, task)
    assert temperature.fit_temperature(labels, given, task) == pytest.approx(scale, abs=0.1)


def test_what_validation_can_not_tell_is_left_as_it_is():
    labels = np.eye(3, dtype=int)
    assert temperature.fit_temperature(labels, 0.1 + 0.7 * labels, "multiclass") == 1.0
    assert temperature.fit_temperature(labels[:0], labels[:0], "multiclass") == 1.0
    assert temperature.fit_temperature(labels, np.full((3, 3), np.nan), "multiclass") == 1.0


@pytest.mark.parametrize("task", TASKS)
def test_scaling_changes_no_decision(task):
    _, logits = calibrated_logits(task, 500)
    given = metrics.probabilities(3 * logits, task)
    np.testing.assert_array_equal(
        metrics.decide(given, task), metrics.decide(temperature.scaled(given, task, 2.3), task)
    )


def test_the_closed_form_is_where_the_weighted_loss_is_least():
    """Of one class with a share p of positives, the weighted loss of a constant logit is least at the shifted logit."""
    share, weight = 0.03, 12.0
    labels = (np.arange(10_000) < share * 10_000).astype(float)[:, None]
    grid = np.linspace(-6, 6, 2401)
    losses = [metrics.cross_entropy(labels, np.full_like(labels, z), "multilabel", np.array([weight])) for z in grid]
    best = grid[int(np.argmin(losses))]
    (shift,) = temperature.prior_shift(np.array([weight]), 1)
    assert best - shift == pytest.approx(np.log(share / (1 - share)), abs=0.006)
