"""Two models on the same scans: the tests of their difference reject as often as their level says, and no more."""

import numpy as np
import pytest
from drawn_test_sets import CLASSES, most_likely, simulated
from scipy.stats import rankdata
from sklearn.metrics import f1_score, roc_auc_score

from lungkeras.scores import f1_scores, intervals, paired


def two_alike(random, patients: int):
    """Labels, the scores of two models of one skill, whose errors go by patient, and patients."""
    labels, _, names = simulated(random, patients, scans=(1, 4))
    ease = random.normal(size=(2, patients, CLASSES))
    return labels, labels + ease[:, names] + random.normal(size=(2, *labels.shape)), names


def test_two_models_of_equal_skill_differ_significantly_once_in_twenty():
    random, simulations = np.random.default_rng(2), 1000
    found = {"f1": [], "auroc": []}
    for seed in range(simulations):
        labels, scores, names = two_alike(random, 60)
        counts = [f1_scores.decision_counts(labels, decided, names) for decided in most_likely(scores)]
        found["f1"].append(paired.p_of_f1(*counts, draws=199, seed=seed))
        found["auroc"].append(paired.p_of_auroc(labels, *scores, names, draws=199, seed=seed))
    for p in map(np.array, found.values()):
        for level in (0.05, 0.2):
            error = np.sqrt(level * (1 - level) / simulations)
            assert (p <= level).mean() == pytest.approx(level, abs=3 * error)


def test_of_all_ways_to_swap_two_models_no_more_are_significant_than_the_level_says():
    """The proof that the p is exact: under A/A each of these test sets is as likely as any other."""
    labels, scores, names = two_alike(np.random.default_rng(5), 8)
    first, second = (f1_scores.decision_counts(labels, decided, names) for decided in most_likely(scores))
    found = []
    for way in paired.swaps(8):
        moved = way[:, None, None] * (second - first)
        found.append(paired.p_of_f1(first + moved, second - moved))
    assert len(found) == 2**8 and min(found) < 0.05
    for level in np.unique(found):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=1e-12)


def test_a_swap_moves_the_auroc_as_much_as_swapped_ranks_do(monkeypatch):
    labels, scores, names = two_alike(np.random.default_rng(6), 30)
    expected, (places, _) = [], intervals.patient_places(names)
    ranks = np.apply_along_axis(rankdata, 1, np.round(scores, 1))
    for way in paired.swaps(30, draws=20):
        chosen = np.where(way[places][:, None] == 1, ranks[::-1], ranks)
        expected.append(np.subtract(*(roc_auc_score(labels, given, average="macro") for given in chosen)))
    monkeypatch.setattr(paired, "_share_as_far", lambda differences: differences)
    np.testing.assert_allclose(
        paired.p_of_auroc(labels, *np.round(scores, 1), names, draws=20), expected, rtol=0, atol=1e-12
    )


def test_a_better_model_is_significantly_better():
    random = np.random.default_rng(4)
    labels, decided, patients = simulated(random, 300, skill=0.9)
    others = np.roll(decided, 1, axis=0)
    found = paired.compare_f1(labels, decided, others, patients)
    assert found["difference"] == pytest.approx(
        f1_score(labels, decided, average="macro") - f1_score(labels, others, average="macro"), abs=1e-12
    )
    assert found["low"] > 0 and found["p"] < 0.001
    same = paired.compare_f1(labels, decided, decided, patients)
    assert same["difference"] == 0 and same["p"] == 1
    assert -0.02 < same["low"] < 0 < same["high"] < 0.02


def test_holm_multiplies_each_step_by_the_tests_left():
    np.testing.assert_allclose(paired.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(paired.holm([0.9, np.nan, 0.01]), [0.9, np.nan, 0.02])
