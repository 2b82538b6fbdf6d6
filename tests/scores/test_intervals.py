"""Scores of draws equal scikit-learn's; intervals cover what they promise, also where errors are few."""

import numpy as np
import pytest
from drawn_test_sets import most_likely, simulated
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from lungkeras.scores import delong, f1_scores, intervals, paired, rankings, share_intervals

SIMULATIONS = 500


def test_points_are_those_of_scikit_learn(scored):
    labels, scores, patients = scored
    decided = (scores >= 0.7).astype(int)
    found = f1_scores.f1_of_counts(f1_scores.decision_counts(labels, decided, patients).sum(axis=0))
    np.testing.assert_allclose(found, f1_score(labels, decided, average=None), rtol=0, atol=1e-12)
    for column in range(4):
        auroc, precision = rankings.ranking(labels[:, column], scores[:, column], np.ones((1, 150)))
        assert auroc[0] == pytest.approx(roc_auc_score(labels[:, column], scores[:, column]), abs=1e-12)
        assert precision[0] == pytest.approx(average_precision_score(labels[:, column], scores[:, column]), abs=1e-12)


def test_a_draw_is_a_test_set_in_which_patients_come_with_all_their_scans(scored):
    labels, scores, patients = scored
    decided = (scores >= 0.7).astype(int)
    f1 = f1_scores.drawn_f1(labels, decided, patients, draws=3)
    auroc, precision = rankings.drawn_ranking(labels, scores, patients, draws=3)
    places, count = intervals.patient_places(patients)
    for draw, times in enumerate(intervals.patient_draws(count, 3)):
        assert times.sum() == count
        scans = np.repeat(np.arange(150), times[places].astype(int))
        np.testing.assert_allclose(f1[draw], f1_score(labels[scans], decided[scans], average=None), atol=1e-12)
        np.testing.assert_allclose(auroc[draw], roc_auc_score(labels[scans], scores[scans], average=None), atol=1e-12)
        expected = average_precision_score(labels[scans], scores[scans], average=None)
        np.testing.assert_allclose(precision[draw], expected, atol=1e-12)


def test_the_order_of_scans_changes_nothing(scored):
    labels, scores, patients = scored
    other = np.random.default_rng(0).permutation(150)
    decided = (scores >= 0.7).astype(int)
    np.testing.assert_array_equal(
        f1_scores.drawn_f1(labels, decided, patients, draws=20),
        f1_scores.drawn_f1(labels[other], decided[other], patients[other], draws=20),
    )


def test_intervals_over_patients_cover_the_truth_and_intervals_over_scans_do_not():
    random = np.random.default_rng(2)
    labels, decided, _ = simulated(random, 100_000)
    truth = f1_score(labels, decided, average="macro")
    covered = {"patients": [], "scans": []}
    for simulation in range(SIMULATIONS):
        labels, decided, patients = simulated(random, 120)
        for unit, names in (("patients", patients), ("scans", np.arange(len(patients)))):
            if unit == "scans" and simulation >= 150:
                continue
            drawn = f1_scores.drawn_f1(labels, decided, names, draws=400).mean(axis=1)
            low, high = intervals.interval(drawn, len(set(names)))
            covered[unit].append(low <= truth <= high)
    assert 0.93 <= np.mean(covered["patients"]) <= 0.97
    assert np.mean(covered["scans"]) < 0.85


def test_what_is_undefined_is_not_a_number():
    labels, scores = np.array([[1, 0], [1, 0]]), np.array([[0.3, 0.2], [0.4, 0.1]])
    assert np.isnan(delong.delong(labels, scores, ["a", "b"])[0]).all()
    assert np.isnan(paired.compare_auroc(labels, scores, scores, ["a", "b"])["p"])
    auroc, precision = rankings.drawn_ranking(labels, scores, ["a", "b"], draws=5)
    assert np.isnan(auroc).all() and np.isnan(precision[:, 1]).all() and (precision[:, 0] == 1).all()
    assert np.isnan(intervals.interval(auroc[:, 0])).all()
    assert np.isnan(intervals.interval(np.ones(5), patients=1)).all()
    assert np.isnan(delong.auroc_interval(1.0, 0.0)).all()
    single = np.array([[1], [0], [0]]), np.array([[0.9], [0.2], [0.1]]), np.array([[0.3], [0.8], [0.1]])
    compared = paired.compare_auroc(*single, ["a", "b", "c"])
    assert compared["difference"] == 0.5 and np.isnan([compared[key] for key in ("low", "high", "p")]).all()


def few_errors(random, scans: int, rate: float):
    """Labels, decisions of three classes of unequal size, and the true macro F1."""
    share = np.array([0.42, 0.43, 0.15])
    truth = random.choice(3, scans, p=share)
    wrong = random.random(scans) < rate
    decided = np.where(wrong, (truth + random.integers(1, 3, scans)) % 3, truth)
    cells = np.diag(share * (1 - rate)) + (1 - np.eye(3)) * share[:, None] * rate / 2
    f1 = 2 * np.diag(cells) / (cells.sum(axis=0) + cells.sum(axis=1))
    return np.eye(3, dtype=int)[truth], np.eye(3, dtype=int)[decided], f1.mean()


@pytest.mark.parametrize("scans", [45, 100, 300])
@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
def test_intervals_of_f1_and_shares_cover_where_errors_are_few(scans, rate):
    random, covered = np.random.default_rng([scans, int(100 * rate)]), {"f1": [], "share": []}
    for _ in range(400):
        labels, decided, truth = few_errors(random, scans, rate)
        low, high = f1_scores.f1_interval(f1_scores.decision_counts(labels, decided, np.arange(scans)), draws=400)
        covered["f1"].append(low <= truth <= high)
        low, high = share_intervals.share_interval((labels * decided).sum(axis=1), np.arange(scans))
        covered["share"].append(low <= 1 - rate <= high)
    error = 2 * np.sqrt(0.05 * 0.95 / 400)
    assert 0.92 - error <= np.mean(covered["f1"]) <= 0.98 + error
    assert np.mean(covered["share"]) >= 0.92 - error  # a count of few errors has few possible intervals


def sure_models(random, scans: int, rate: float, models: int = 2):
    """Labels of three classes of unequal size, and the scores of models that share half of their errors."""
    truth, shared = random.choice(3, scans, p=[0.42, 0.43, 0.15]), random.random(scans)
    scores = []
    for _ in range(models):
        wrong = np.where(random.random(scans) < 0.5, shared, random.random(scans)) < rate
        called = np.where(wrong, (truth + random.integers(1, 3, scans)) % 3, truth)
        scores.append(3 * np.eye(3)[called] + random.normal(size=(scans, 3)))
    return np.eye(3, dtype=int)[truth], scores


CELLS = [
    pytest.param(scans, rate, marks=() if (scans, rate) in ((100, 0.05), (300, 0.02)) else pytest.mark.slow)
    for scans in (45, 100, 300)
    for rate in (0.02, 0.05, 0.2)
]


@pytest.mark.parametrize(("scans", "rate"), CELLS)
def test_intervals_of_a_class_of_another_prevalence_and_of_differences_cover_the_truth(scans, rate):
    """Truth from 200,000 scans; a class of fewer than ten has no interval. Two models of one skill differ by 0."""
    labels, (scores,) = sure_models(np.random.default_rng(0), 200_000, rate, 1)
    decided, often = most_likely(scores), np.where(labels[:, 2] == 1, 4.0, 1.0)
    truth = {f"f1_{c}": f1_score(labels[:, c], decided[:, c]) for c in range(3)}
    truth |= {f"ap_{c}": average_precision_score(labels[:, c], scores[:, c]) for c in range(3)}
    truth["prevalence"] = f1_score(labels, decided, average="macro", sample_weight=often)
    truth |= {"macro_ap": np.mean([truth[f"ap_{c}"] for c in range(3)]), "difference": 0, "auroc_difference": 0}
    random, covered, names = (
        np.random.default_rng([scans, int(100 * rate)]),
        {key: [] for key in truth},
        np.arange(scans),
    )
    for _ in range(150):
        labels, (scores, others) = sure_models(random, scans, rate)
        decided, apart = most_likely(scores), most_likely(others)
        counts = f1_scores.decision_counts(labels, decided, names)
        precision = rankings.drawn_ranking(labels, scores, names, 250, errors=intervals.PRIOR_ERRORS)[1]
        found = {"macro_ap": intervals.interval(precision.mean(axis=1), scans)}
        for column in np.flatnonzero(labels.sum(axis=0) >= intervals.FEWEST_PATIENTS):
            found[f"f1_{column}"] = f1_scores.f1_interval(counts, 250, column=column)
            found[f"ap_{column}"] = intervals.interval(precision[:, column], scans)
        weights = np.where(labels[:, 2] == 1, 4.0, 1.0)
        found["prevalence"] = f1_scores.f1_interval(f1_scores.decision_counts(labels, decided, names, weights), 250)
        for key, compared in (
            ("difference", paired.compare_f1(labels, decided, apart, names, 250)),
            ("auroc_difference", paired.compare_auroc(labels, scores, others, names, 20)),
        ):
            found[key] = compared["low"], compared["high"]
        for key, (low, high) in found.items():
            if not np.isnan(low):
                covered[key].append(low <= truth[key] <= high)
    shares = {key: np.mean(held) for key, held in covered.items() if len(held) > 100}
    assert min(shares.values()) >= 0.92 - 2 * np.sqrt(0.05 * 0.95 / 150), shares


def test_no_interval_has_zero_width_even_without_an_error():
    labels = np.eye(2, dtype=int)[np.arange(14) % 2]
    low, high = f1_scores.f1_interval(f1_scores.decision_counts(labels, labels, np.arange(14)))
    assert 0.6 < low < 0.98 and high == 1
    low, high = share_intervals.share_interval(np.ones(14), np.arange(14))
    assert low == pytest.approx(14 / (14 + 1.959964**2), abs=1e-6) and high == 1
    low, high = delong.auroc_interval(1.0, 0.0, trials=7)
    assert low == pytest.approx(0.025 ** (1 / 7)) and high == 1
    found = paired.compare_auroc(labels, 1.0 * labels, 0.5 + 0.3 * labels, np.arange(14))
    assert found["difference"] == 0 and found["p"] == 1
    assert (found["low"], found["high"]) == pytest.approx((0.025 ** (1 / 7) - 1, 1 - 0.025 ** (1 / 7)))


def test_an_absent_class_is_left_out_of_the_macro_f1():
    labels = np.eye(3, dtype=int)[[0, 1, 0, 1]]
    counts = f1_scores.decision_counts(labels, labels, np.arange(4))
    assert f1_scores.macro_f1_of_counts(counts) == 1


@pytest.fixture(scope="module")
def partly_known():
    """A class with unknown labels, two models' scores, patients; then the same for its known scans."""
    random = np.random.default_rng(5)
    patients = np.arange(160) // 4
    labels = (random.random((160, 1)) < 0.4).astype(float)
    scores = np.round(labels * 0.5 + random.random((2, 160, 1)), 1)
    labels[np.arange(160) % 4 == random.integers(4)] = np.nan
    known = ~np.isnan(labels[:, 0])
    return (labels, *scores, patients), (labels[known].astype(int), *scores[:, known], patients[known])


def test_an_unknown_label_counts_as_if_it_were_absent(partly_known):
    for one, other in zip(*map(partly_known_scores, partly_known), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def partly_known_scores(given) -> list:
    """What each score and test finds; patients are the same, so that draws are."""
    labels, scores, others, patients = given
    decided = [(each >= 0.7).astype(int) for each in (scores, others)]
    counts = f1_scores.decision_counts(labels, decided[0], patients)
    return [
        counts,
        f1_scores.f1_interval(counts),
        intervals.rarer_side(labels[:, 0], patients),
        rankings.ranking(labels[:, 0], scores[:, 0], np.ones((1, len(labels)))),
        rankings.drawn_ranking(labels, scores, patients, draws=20),
        *delong.delong(labels, scores, patients),
        list(paired.compare_f1(labels, *decided, patients, draws=50).values()),
        list(paired.compare_auroc(labels, scores, others, patients, draws=50).values()),
    ]


def test_a_class_with_labels_of_one_kind_is_in_no_macro_score():
    labels, decided = np.array([[1, 1], [0, np.nan], [1, 1]]), np.ones((3, 2), dtype=int)
    counts = f1_scores.decision_counts(labels, decided, [1, 2, 3])
    assert not counts[..., 1].any()
    assert f1_scores.macro_f1_of_counts(counts) == pytest.approx(f1_score([1, 0, 1], [1, 1, 1]))
    assert np.isnan(rankings.ranking(labels[:, 1], np.array([0.9, 0.1, 0.8]), np.ones((1, 3)))).all()
    assert paired.with_both_signs(labels) == [0]
