"""Scores equal scikit-learn's; intervals cover what they promise; tests reject no more than they may."""

import numpy as np
import pytest
from scipy.stats import rankdata
from scipy.stats import t as student
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from lungkeras.scores import delong, intervals, paired

SIMULATIONS = 500
CLASSES = 3


def simulated(random, patients: int, scans=(1, 8), skill: float = 0.8):
    """Labels, decisions and patients of a test set: a patient has one class and its scans are right or wrong alike."""
    sizes = random.integers(scans[0], scans[1] + 1, patients)
    classes = random.integers(CLASSES, size=patients)
    # Some patients are easy and some are not; their mean is `skill`.
    ease = random.beta(1.5 * skill, 1.5 * (1 - skill), patients)
    names = np.repeat(np.arange(patients), sizes)
    right = random.random(len(names)) < ease[names]
    wrong = (classes[names] + random.integers(1, CLASSES, len(names))) % CLASSES
    return (
        np.eye(CLASSES, dtype=int)[classes[names]],
        np.eye(CLASSES, dtype=int)[np.where(right, classes[names], wrong)],
        names,
    )


@pytest.fixture(scope="module")
def scored():
    """Labels, tied scores, patients."""
    random = np.random.default_rng(3)
    patients = random.integers(40, size=150)
    labels = (random.random((150, 4)) < [0.5, 0.2, 0.1, 0.4]).astype(int)
    scores = np.round(labels * 0.5 + random.random(labels.shape), 1)
    return labels, scores, patients


def test_points_are_those_of_scikit_learn(scored):
    labels, scores, patients = scored
    decided = (scores >= 0.7).astype(int)
    found = intervals.f1_of_counts(intervals.decision_counts(labels, decided, patients).sum(axis=0))
    np.testing.assert_allclose(found, f1_score(labels, decided, average=None), rtol=0, atol=1e-12)
    for column in range(4):
        auroc, precision = intervals.ranking(labels[:, column], scores[:, column], np.ones((1, 150)))
        assert auroc[0] == pytest.approx(roc_auc_score(labels[:, column], scores[:, column]), abs=1e-12)
        assert precision[0] == pytest.approx(average_precision_score(labels[:, column], scores[:, column]), abs=1e-12)


def test_a_draw_is_a_test_set_in_which_patients_come_with_all_their_scans(scored):
    labels, scores, patients = scored
    decided = (scores >= 0.7).astype(int)
    f1 = intervals.drawn_f1(labels, decided, patients, draws=3)
    auroc, precision = intervals.drawn_ranking(labels, scores, patients, draws=3)
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
        intervals.drawn_f1(labels, decided, patients, draws=20),
        intervals.drawn_f1(labels[other], decided[other], patients[other], draws=20),
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
            drawn = intervals.drawn_f1(labels, decided, names, draws=400).mean(axis=1)
            low, high = intervals.interval(drawn, len(set(names)))
            covered[unit].append(low <= truth <= high)
    assert 0.93 <= np.mean(covered["patients"]) <= 0.97
    assert np.mean(covered["scans"]) < 0.85


def two_alike(random, patients: int):
    """Labels, the scores of two models of one skill, whose errors go by patient, and patients."""
    labels, _, names = simulated(random, patients, scans=(1, 4))
    ease = random.normal(size=(2, patients, CLASSES))
    return labels, labels + ease[:, names] + random.normal(size=(2, *labels.shape)), names


def most_likely(scores):
    return np.eye(CLASSES, dtype=int)[scores.argmax(axis=-1)]


def test_two_equal_models_differ_significantly_once_in_twenty():
    random, simulations = np.random.default_rng(2), 1000
    found = {"f1": [], "auroc": []}
    for seed in range(simulations):
        labels, scores, names = two_alike(random, 60)
        counts = [intervals.decision_counts(labels, decided, names) for decided in most_likely(scores)]
        found["f1"].append(paired.p_of_f1(*counts, draws=199, seed=seed))
        found["auroc"].append(paired.p_of_auroc(labels, *scores, names, draws=199, seed=seed))
    for p in map(np.array, found.values()):
        for level in (0.05, 0.2):
            error = np.sqrt(level * (1 - level) / simulations)
            assert (p <= level).mean() == pytest.approx(level, abs=3 * error)


def test_over_all_permutations_the_share_of_significant_ones_is_at_most_the_level():
    """The proof that the p is exact: under A/A each of these test sets is as likely as any other."""
    labels, scores, names = two_alike(np.random.default_rng(5), 8)
    first, second = (intervals.decision_counts(labels, decided, names) for decided in most_likely(scores))
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


def brute_force_delong(labels, scores):
    """DeLong's covariance from the kernel of every pair, as in the paper."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    kernel = (positives[:, None] > negatives[None]) + 0.5 * (positives[:, None] == negatives[None])
    of_positives, of_negatives = kernel.mean(axis=1), kernel.mean(axis=0)
    covariance = np.cov(of_positives.T) / len(positives) + np.cov(of_negatives.T) / len(negatives)
    return kernel.mean(axis=(0, 1)), covariance


def test_delong_is_that_of_all_pairs_where_a_patient_has_one_scan(scored):
    labels, scores, _ = scored
    shared = np.repeat(labels[:, :1], 2, axis=1)
    aurocs, covariance = delong.delong(shared, scores[:, :2], np.arange(150))
    expected, spread = brute_force_delong(labels[:, 0], scores[:, :2])
    np.testing.assert_allclose(aurocs, expected, atol=1e-12)
    np.testing.assert_allclose(covariance, spread, atol=1e-12)


def test_delong_of_repeated_scans_is_that_of_the_patients_that_they_repeat(scored):
    labels, scores, _ = scored
    few, covariance = delong.delong(labels, scores, np.arange(150))
    many, repeated = delong.delong(*(np.repeat(part, 4, axis=0) for part in (labels, scores, np.arange(150))))
    np.testing.assert_allclose(many, few, atol=1e-12)
    np.testing.assert_allclose(repeated, covariance, atol=1e-12)


def test_delong_agrees_with_the_bootstrap_over_patients(scored):
    labels, scores, patients = scored
    aurocs, covariance = delong.delong(labels, scores, patients)
    drawn, _ = intervals.drawn_ranking(labels, scores, patients)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), drawn.std(axis=0), rtol=0.15)
    low, high = delong.auroc_interval(aurocs[0], covariance[0, 0])
    np.testing.assert_allclose([low, high], intervals.interval(drawn[:, 0]), atol=0.02)


def test_what_is_undefined_is_not_a_number():
    labels, scores = np.array([[1, 0], [1, 0]]), np.array([[0.3, 0.2], [0.4, 0.1]])
    assert np.isnan(delong.delong(labels, scores, ["a", "b"])[0]).all()
    assert np.isnan(paired.compare_auroc(labels, scores, scores, ["a", "b"])["p"])
    auroc, precision = intervals.drawn_ranking(labels, scores, ["a", "b"], draws=5)
    assert np.isnan(auroc).all() and np.isnan(precision[:, 1]).all() and (precision[:, 0] == 1).all()
    assert np.isnan(intervals.interval(auroc[:, 0])).all()
    assert np.isnan(intervals.interval(np.ones(5), patients=1)).all()
    assert np.isnan(delong.auroc_interval(1.0, 0.0)).all()
    single = np.array([[1], [0], [0]]), np.array([[0.9], [0.2], [0.1]]), np.array([[0.3], [0.8], [0.1]])
    compared = paired.compare_auroc(*single, ["a", "b", "c"])
    assert compared["difference"] == 0.5 and np.isnan([compared[key] for key in ("low", "high", "p")]).all()


def test_holm_multiplies_each_step_by_the_tests_left():
    np.testing.assert_allclose(paired.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(paired.holm([0.9, np.nan, 0.01]), [0.9, np.nan, 0.02])


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
        low, high = intervals.f1_interval(intervals.decision_counts(labels, decided, np.arange(scans)), draws=400)
        covered["f1"].append(low <= truth <= high)
        low, high = intervals.share_interval((labels * decided).sum(axis=1), np.arange(scans))
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
        counts = intervals.decision_counts(labels, decided, names)
        precision = intervals.drawn_ranking(labels, scores, names, 250, errors=intervals.PRIOR_ERRORS)[1]
        found = {"macro_ap": intervals.interval(precision.mean(axis=1), scans)}
        for column in np.flatnonzero(labels.sum(axis=0) >= intervals.FEWEST_PATIENTS):
            found[f"f1_{column}"] = intervals.f1_interval(counts, 250, column=column)
            found[f"ap_{column}"] = intervals.interval(precision[:, column], scans)
        weights = np.where(labels[:, 2] == 1, 4.0, 1.0)
        found["prevalence"] = intervals.f1_interval(intervals.decision_counts(labels, decided, names, weights), 250)
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


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("patients", [12, 40])
def test_intervals_of_shares_and_of_their_paired_differences_cover_where_patients_repeat(share, patients):
    """Two hits of a patient's two or three scans, which mostly go together; the other asked is a fixed answer."""
    random, covered = np.random.default_rng([patients, int(10 * share)]), {"share": [], "difference": []}
    for _ in range(400):
        names = np.repeat(np.arange(patients), random.integers(1, 4, patients))
        together, alone = random.random((2, patients))[:, names], random.random((2, len(names)))
        either = np.where(random.random((2, len(names))) < 0.6, together, alone)
        hits, others = either[0] < share, either[1] < 0.3
        low, high = intervals.share_interval(hits, names)
        covered["share"].append(low <= share <= high)
        low, high = intervals.paired_share_interval(hits, others, names)
        covered["difference"].append(low <= share - 0.3 <= high)
    assert min(map(np.mean, covered.values())) >= 0.92 - 2 * np.sqrt(0.05 * 0.95 / 400), covered


def test_the_interval_of_a_paired_difference_is_agresti_and_mins():
    """Of 10, 20 and 5 scans that differ by 0, 1 and -1, where every patient has one."""
    hits, others = np.r_[np.ones(10), np.ones(20), np.zeros(5)], np.r_[np.ones(10), np.zeros(20), np.ones(5)]
    low, high = intervals.paired_share_interval(hits, others, np.arange(35))
    scans, middle = 37, 15 / 37
    spread = (20.5 + 5.5) / scans - middle**2
    reach = student.ppf(0.975, 34) * np.sqrt(spread / scans)
    assert (low, high) == pytest.approx((middle - reach, middle + reach), abs=0.006)
    low, high = intervals.paired_share_interval(np.ones(12), np.ones(12), np.arange(12))
    assert -0.3 < low < 0 < high < 0.3


def test_no_interval_has_zero_width_even_without_an_error():
    labels = np.eye(2, dtype=int)[np.arange(14) % 2]
    low, high = intervals.f1_interval(intervals.decision_counts(labels, labels, np.arange(14)))
    assert 0.6 < low < 0.98 and high == 1
    low, high = intervals.share_interval(np.ones(14), np.arange(14))
    assert low == pytest.approx(14 / (14 + 1.959964**2), abs=1e-6) and high == 1
    low, high = delong.auroc_interval(1.0, 0.0, trials=7)
    assert low == pytest.approx(0.025 ** (1 / 7)) and high == 1
    found = paired.compare_auroc(labels, 1.0 * labels, 0.5 + 0.3 * labels, np.arange(14))
    assert found["difference"] == 0 and found["p"] == 1
    assert (found["low"], found["high"]) == pytest.approx((0.025 ** (1 / 7) - 1, 1 - 0.025 ** (1 / 7)))


def test_an_absent_class_is_left_out_of_the_macro_f1():
    labels = np.eye(3, dtype=int)[[0, 1, 0, 1]]
    counts = intervals.decision_counts(labels, labels, np.arange(4))
    assert intervals.macro_f1_of_counts(counts) == 1


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
    counts = intervals.decision_counts(labels, decided[0], patients)
    return [
        counts,
        intervals.f1_interval(counts),
        intervals.rarer_side(labels[:, 0], patients),
        intervals.ranking(labels[:, 0], scores[:, 0], np.ones((1, len(labels)))),
        intervals.drawn_ranking(labels, scores, patients, draws=20),
        *delong.delong(labels, scores, patients),
        list(paired.compare_f1(labels, *decided, patients, draws=50).values()),
        list(paired.compare_auroc(labels, scores, others, patients, draws=50).values()),
    ]


def test_a_class_with_labels_of_one_kind_is_in_no_macro_score():
    labels, decided = np.array([[1, 1], [0, np.nan], [1, 1]]), np.ones((3, 2), dtype=int)
    counts = intervals.decision_counts(labels, decided, [1, 2, 3])
    assert not counts[..., 1].any()
    assert intervals.macro_f1_of_counts(counts) == pytest.approx(f1_score([1, 0, 1], [1, 1, 1]))
    assert np.isnan(intervals.ranking(labels[:, 1], np.array([0.9, 0.1, 0.8]), np.ones((1, 3)))).all()
    assert paired.with_both_signs(labels) == [0]
