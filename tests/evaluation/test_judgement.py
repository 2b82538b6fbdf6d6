"""Scores equal scikit-learn's over the labels that are known; intervals hold the truth of drawn tables; claims."""

import numpy as np
import pandas as pd
import pytest
from drawn_tables import coverage, drawn, judged, truth
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, recall_score, roc_auc_score

from lungkeras.evaluation import image_gain
from lungkeras.evaluation.foreign import read_foreign
from lungkeras.evaluation.foreign_cells import read_table
from lungkeras.evaluation.judged_claims import read_claims, verdicts
from lungkeras.evaluation.judgement import Judgement
from lungkeras.scores import delong, intervals, paired, precision
from lungkeras.system.errors import TableError

CLASSES = ("mass", "nodule", "effusion")


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    """Two predictors on 120 patients; one label in five is unknown."""
    random = np.random.default_rng(1)
    tables = [table.copy() for table in drawn(random, 120)]
    for name in CLASSES:
        unknown = random.random(len(tables[0])) < 0.2
        tables[0].loc[unknown, f"label_{name}"] = np.nan
        tables[1] = tables[1].drop(columns=f"label_{name}")
    return judged(tables)


def known(judgement: Judgement, place: int):
    test = judgement.read.test
    own = test.known[:, place]
    return test.labels[own, place], test.probabilities["good"][own, place]


def test_scores_are_those_of_scikit_learn_on_the_known_labels(judgement):
    rows = judgement.table("class_scores").set_index(["predictor", "class"]).loc["good"]
    for place, name in enumerate(CLASSES):
        labels, given = known(judgement, place)
        row, decided = rows.loc[name], given >= 0.5
        expected = {
            "auroc": roc_auc_score(labels, given),
            "average_precision": average_precision_score(labels, given),
            "f1": f1_score(labels, decided),
            "sensitivity": recall_score(labels, decided),
            "specificity": recall_score(1 - labels, ~decided),
        }
        assert row["scans"] == len(labels) and row["support"] == labels.sum()
        for score, value in expected.items():
            assert row[score] == pytest.approx(value, abs=1e-12), score
            assert row[f"{score}_low"] < value < row[f"{score}_high"]
    scores = judgement.table("scores").set_index("predictor").loc["good"]
    for score in ("auroc", "f1", "average_precision", "sensitivity"):
        assert scores[f"macro_{score}"] == pytest.approx(rows[score].mean(), abs=1e-12)


def test_calibration_error_is_the_mean_gap_of_bins(judgement):
    row = judgement.table("calibration").set_index(["predictor", "class"]).loc[("good", "mass")]
    labels, given = known(judgement, 0)
    places = np.clip(np.ceil(given * 15).astype(int) - 1, 0, 14)
    gaps = [abs(given[places == b].sum() - labels[places == b].sum()) for b in range(15)]
    assert row["ece"] == pytest.approx(sum(gaps) / len(given), abs=1e-12)
    assert row["brier"] == pytest.approx(np.mean((given - labels) ** 2), abs=1e-12)
    assert row["ece_low"] <= row["ece"] <= row["ece_high"]


def test_an_unknown_label_is_as_good_as_an_absent_scan():
    table, _ = drawn(np.random.default_rng(2), 60)
    alone = table[["scan", "patient", "label_mass", "probability_mass"]].copy()
    gone = np.arange(len(alone)) % 3 == 0
    masked = alone.assign(label_mass=alone["label_mass"].where(~gone))
    both = [
        Judgement(read_foreign({"a": read_table("a.csv", frame)})).table("class_scores").iloc[0]
        for frame in (masked, alone[~gone].reset_index(drop=True))
    ]
    pd.testing.assert_series_equal(*both)


def test_parts_with_unknown_labels_equal_those_without():
    """DeLong's covariance and the permutation test, of columns that know other scans."""
    random = np.random.default_rng(3)
    labels, patients = random.integers(2, size=(90, 2)), random.integers(40, size=90).astype(str)
    scores, others = random.random((2, 90, 2)) + labels
    own = random.random((90, 2)) < 0.7
    marked = np.where(own, labels, np.nan)
    aurocs, covariance = delong.delong(marked, scores, patients)
    for column in range(2):
        mine = own[:, column]
        alone, variance = delong.delong(labels[mine][:, [column]], scores[mine][:, [column]], patients[mine])
        assert aurocs[column] == pytest.approx(alone[0], abs=1e-12)
        assert covariance[column, column] == pytest.approx(variance[0, 0], rel=0.05)
    mine = own[:, 0]
    one = [part[:, [0]] for part in (labels, scores, others)]
    found = paired.compare_auroc(marked[:, [0]], *one[1:], patients)
    alone = paired.compare_auroc(*(part[mine] for part in one), patients[mine])
    assert found["difference"] == pytest.approx(alone["difference"], abs=1e-12)


def test_each_scan_moves_average_precision_by_its_derivative():
    random = np.random.default_rng(4)
    labels, scores = random.integers(2, size=(50, 1)), np.round(random.random((50, 1)), 1)
    point, shares = precision.average_precisions(labels, scores, np.arange(50).astype(str))
    assert point[0] == pytest.approx(average_precision_score(labels[:, 0], scores[:, 0]), abs=1e-12)
    order = np.argsort(np.arange(50).astype(str))
    for place, scan in enumerate(order[:8]):
        weights = np.ones(50)
        weights[scan] += 1e-6
        moved = average_precision_score(labels[:, 0], scores[:, 0], sample_weight=weights)
        assert shares[place, 0] == pytest.approx((moved - point[0]) / 1e-6, abs=1e-4)
    assert shares.sum() == pytest.approx(0, abs=1e-9)


def test_blocks_of_patients_give_intervals_as_wide_as_patients():
    random = np.random.default_rng(5)
    patients = np.repeat(np.arange(3000), 2)
    labels = (random.random((6000, 1)) < 0.3).astype(int)
    scores = labels + random.normal(size=(6000, 1)) + random.normal(size=(3000, 1))[patients]
    blocks = intervals.patient_blocks(patients, 1000)
    assert len(np.unique(blocks)) == 1000
    assert all(len(set(blocks[patients == patient])) == 1 for patient in range(0, 3000, 100))
    widths = [np.sqrt(delong.delong(labels, scores, names)[1][0, 0]) for names in (patients, blocks)]
    assert widths[1] == pytest.approx(widths[0], rel=0.08)
    assert (intervals.patient_blocks(["b", "a", "b"]) == [1, 0, 1]).all()


def test_intervals_of_f1_over_blocks_are_those_over_patients(monkeypatch):
    table, _ = drawn(np.random.default_rng(9), 1200)
    rows = []
    for most in (2000, 300):
        monkeypatch.setattr(intervals.patient_blocks, "__defaults__", (most, 0))
        found = Judgement(read_foreign({"a": read_table("a.csv", table)}))
        assert len(np.unique(found.blocks)) == min(most, 1200)
        rows.append(found.table("scores").iloc[0])
    whole, blocks = rows
    assert whole["patients"] == blocks["patients"] == 1200
    for score in ("macro_f1", "macro_auroc", "macro_average_precision", "macro_sensitivity"):
        width = whole[f"{score}_high"] - whole[f"{score}_low"]
        assert blocks[f"{score}_low"] == pytest.approx(whole[f"{score}_low"], abs=0.12 * width)
        assert blocks[f"{score}_high"] == pytest.approx(whole[f"{score}_high"], abs=0.12 * width)


def test_thresholds_come_from_val_where_it_is_there():
    table, _ = drawn(np.random.default_rng(6), 150)
    split = np.where(table["patient"] % 2, "val", "test")
    found = Judgement(read_foreign({"a": read_table("a.csv", table.assign(split=split))}))
    points = found.table("operating_points").set_index(["class", "asked"])
    negatives = table[(split == "val") & (table["label_mass"] == 0)]["probability_mass"]
    assert (negatives < points.loc[("mass", 0.9), "threshold"]).mean() == pytest.approx(0.9, abs=0.02)
    assert set(found.table("thresholds")["chosen_on"]) == {"validation"}
    for name in CLASSES:
        odds = 3 * logit(table[f"probability_{name}"])
        table[f"probability_{name}"] = expit(odds)
    overconfident = Judgement(read_foreign({"a": read_table("a.csv", table.assign(split=split))}))
    errors = overconfident.table("calibration").set_index("class").loc[""]
    assert errors["ece_scaled"] < errors["ece"] and errors["temperature"] > 1


def test_without_val_thresholds_are_cross_fitted_and_parts_of_no_patient_choose_for_the_rest(judgement):
    patients = judgement.read.test.patients
    assert pd.Series(judgement.folds).groupby(patients).nunique().max() == 1
    asked = []
    judgement.thresholds.called("good", 0, lambda labels, scores: asked.append(len(labels)) or 0.5)
    own = judgement.read.test.known[:, 0].sum()
    assert len(asked) == image_gain.FOLDS + 1 and asked[-1] == own and sum(asked[:-1]) == (image_gain.FOLDS - 1) * own
    assert set(judgement.table("operating_points")["chosen_on"]) == {"cross-fitted"}


def test_metadata_are_cross_fitted_as_by_scikit_learn(judgement):
    test, folds = judgement.read.test, judgement.folds
    columns = image_gain.metadata_columns(test.metadata)
    fit, own = (folds != 0) & test.known[:, 0], folds == 0
    model = LogisticRegression(tol=1e-10, max_iter=1000).fit(columns[fit], test.labels[fit, 0])
    np.testing.assert_allclose(judgement.metadata_alone[own, 0], model.predict_proba(columns[own])[:, 1], atol=1e-5)


def test_a_prediction_that_only_repeats_metadata_adds_nothing():
    table, _ = drawn(np.random.default_rng(7), 300)
    for name in CLASSES:
        table[f"probability_{name}"] = np.clip(table["age"] / 100, 0, 1)
    row = Judgement(read_foreign({"a": read_table("a.csv", table)})).table("image_gain").iloc[0]
    assert abs(row["gain"]) < 0.01 and row["gain_low"] < 0 < row["gain_high"]
    assert row["metadata_auroc"] > 0.6


def test_perfect_predictions_have_intervals_that_do_not_end_at_once():
    table, _ = drawn(np.random.default_rng(8), 40)
    for name in CLASSES:
        table[f"probability_{name}"] = table[f"label_{name}"] * 0.8 + 0.1
    found = Judgement(read_foreign({"a": read_table("a.csv", table)}))
    row, classes = found.table("scores").iloc[0], found.table("class_scores")
    for score in ("auroc", "f1", "average_precision", "sensitivity", "specificity"):
        assert row[f"macro_{score}"] == pytest.approx(1) and 0.5 < row[f"macro_{score}_low"] < 1
        assert ((classes[f"{score}_low"] > 0.5) & (classes[f"{score}_low"] < 1)).all()


def test_groups_baselines_and_pairs(judgement):
    groups = judgement.table("groups")
    assert set(groups["attribute"]) == {"age", "sex"} and groups["scans"].sum() == 4 * len(judgement.read.test)
    own = judgement.read.test.metadata["sex"] == "F"
    part = judgement.of_scans(judgement.answers["good"].probabilities, None, own.to_numpy())
    row = groups[(groups["predictor"] == "good") & (groups["group"] == "F")].iloc[0]
    assert row["macro_auroc"] == pytest.approx(part.ranked["auroc"][0].mean())
    baselines = judgement.table("baselines").set_index(["predictor", "baseline"])
    assert (baselines.loc["good", "better"] == "yes").all()
    pair = judgement.table("pairs").iloc[0]
    assert pair["auroc_p"] < 0.01 and pair["auroc_low"] > 0


def claims(tmp_path, *predicates: str):
    file = tmp_path / "claims.yaml"
    file.write_text("".join(f"- id: c{i}\n  claim: words\n  predicate: {p}\n" for i, p in enumerate(predicates)))
    return read_claims(file)


def test_claims_hold_fail_or_stay_open(judgement, tmp_path):
    listed = claims(
        tmp_path,
        "macro_auroc of good > poor",
        "macro_auroc of good > poor + 0.3",
        "auroc(Mass) of good > 0.5 and macro_f1 of good > majority",
        "macro_auroc of good > 0.82 + 0.01",
        "macro_auroc of good < poor or image_gain of good > 0.05",
        "macro_auroc of another > poor",
        "auroc(pneumonia) of good > 0.5",
        "ece of good < 0.5",
    )
    table = verdicts(judgement, listed)
    point = judgement.table("scores").iloc[0]["macro_auroc"]
    assert abs(point - 0.83) < 0.03, "the fourth claim lies within the interval"
    expected = ["holds", "fails", "holds", "cannot tell", "holds", "not run", "not run", "holds"]
    assert table["verdict"].tolist() == expected
    assert "no predictor is named 'another'" in table["reason"][5] and "pneumonia" in table["reason"][6]
    assert f"macro_auroc of good {point:.3f}" in table["figures"][0]


@pytest.mark.parametrize(
    ("predicate", "said"),
    [
        ("good is better", "claim 1 .c0.: 'good is better' is not a comparison"),
        ("macro_aurok of good > 0.5", "did you mean macro_auroc"),
        ("auroc of good > 0.5", "expected a score, one of macro_f1"),
    ],
)
def test_a_claim_that_is_none_is_named(tmp_path, predicate, said):
    with pytest.raises(TableError, match=said):
        claims(tmp_path, predicate)


def test_intervals_hold_the_truth_of_drawn_tables():
    """Thirty tables: more than five misses are one chance in two hundred at 95 %."""
    found = coverage(30, 80, seed=1)
    assert (found["covers"] >= 25 / 30).all(), found
    assert (found.loc["macro_auroc", "width"] < 0.2) and truth()["image beyond metadata"] > 0.1


@pytest.mark.probes
@pytest.mark.parametrize("patients", [60, 150, 500])
def test_intervals_hold_the_truth_in_95_of_100_drawn_tables(patients):
    """Two hundred tables: 95 % less or more three times the standard error of so many."""
    found = coverage(200, patients)
    print(found.round(3).to_string())
    assert found["covers"].between(0.903, 0.996).all(), found
    assert 0.93 <= found["covers"].mean() <= 0.97
