"""Scores and losses against scikit-learn, PyTorch and closed forms."""

import json
import warnings

import numpy as np
import pytest
from sklearn import metrics as judge

from lungkeras.scores.metrics import (
    confusion,
    cross_entropy,
    decide,
    macro_f1,
    per_class,
    positive_weights,
    probabilities,
    scores,
)
from lungkeras.system import files

TASKS = ("multiclass", "multilabel")
CLASSES = ("covid", "viral_pneumonia", "normal", "other")


def drawn(task: str, scans: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits that agree more often than not."""
    random = np.random.default_rng(seed)
    if task == "multiclass":
        labels = np.eye(len(CLASSES))[random.integers(len(CLASSES), size=scans)]
    else:
        labels = (random.random((scans, len(CLASSES))) < 0.3).astype(float)
    return labels.astype(np.float32), 2 * labels + random.normal(size=labels.shape)


def test_probabilities_are_the_softmax_or_the_sigmoid():
    np.testing.assert_allclose(probabilities([[0.0, np.log(3.0)]], "multiclass"), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(probabilities([[0.0, np.log(3.0)]], "multilabel"), [[0.5, 0.75]], rtol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_probabilities_are_stable_for_huge_logits(task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = probabilities(np.array([[1e4, -1e4], [-1e4, 1e4]], dtype=np.float32), task)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1, 0], [0, 1]])


def test_decisions_are_the_likeliest_class_or_all_above_the_threshold():
    given = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2]])
    assert decide(given, "multiclass").tolist() == [[1, 0, 0], [1, 0, 0]]
    assert decide(given, "multilabel").tolist() == [[1, 0, 0], [0, 0, 0]]
    assert decide(given, "multilabel", threshold=0.3).tolist() == [[1, 1, 0], [1, 1, 0]]


@pytest.mark.parametrize("task", TASKS)
def test_scores_equal_those_of_scikit_learn(task):
    labels, logits = drawn(task)
    given = probabilities(logits, task)
    if task == "multiclass":
        truth, decided = labels.argmax(axis=1), given.argmax(axis=1)
    else:
        truth, decided = labels, given >= 0.5
    expected = judge.classification_report(truth, decided, target_names=CLASSES, output_dict=True, zero_division=0)
    found = scores(labels, given, CLASSES, task)
    assert found["macro_f1"] == pytest.approx(expected["macro avg"]["f1-score"])
    assert found["macro_auroc"] == pytest.approx(judge.roc_auc_score(labels, given, average="macro"))
    for name in CLASSES:
        row = found["per_class"][name]
        assert (row["f1"], row["precision"], row["recall"], row["support"]) == pytest.approx(
            (
                expected[name]["f1-score"],
                expected[name]["precision"],
                expected[name]["recall"],
                labels.sum(axis=0)[CLASSES.index(name)],
            )
        )


def test_a_class_that_no_scan_has_is_left_out():
    assert macro_f1(np.eye(3)[[0, 1]], np.eye(3)[[0, 1]], "multiclass") == 1


@pytest.mark.parametrize("task", TASKS)
def test_an_undefined_auroc_is_nan_without_a_warning(task, tmp_path):
    labels, given = np.eye(3)[[0, 1, 1]], np.eye(3)[[0, 1, 0]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scores(labels, given, CLASSES[:3], task)
    assert np.isnan(found["per_class"]["normal"]["auroc"])
    assert found["macro_auroc"] == pytest.approx(0.75)
    files.write_json(tmp_path / "metrics.json", found)
    assert json.loads((tmp_path / "metrics.json").read_text())["per_class"]["normal"]["auroc"] is None


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_diverged_has_undefined_scores_and_is_not_refused(task):
    found = scores(np.eye(3), np.full((3, 3), np.nan), CLASSES[:3], task)
    assert np.isnan([found["macro_auroc"], found["macro_f1"]]).all()
    assert all(np.isnan([each["f1"], each["recall"], each["precision"]]).all() for each in found["per_class"].values())


def test_per_class_keeps_the_order_of_the_classes():
    labels, logits = drawn("multilabel")
    assert tuple(per_class(labels, probabilities(logits, "multilabel"), CLASSES, "multilabel")) == CLASSES


def test_confusion_has_true_rows_and_predicted_columns():
    labels, given = np.eye(3)[[0, 0, 1, 2]], np.eye(3)[[0, 1, 1, 2]]
    counts = confusion(labels, given, CLASSES[:3])
    assert counts.to_numpy().tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert counts.loc["covid", "viral_pneumonia"] == 1
    assert all(kind.kind == "i" for kind in counts.dtypes)


def test_confusion_equals_that_of_scikit_learn():
    labels, logits = drawn("multiclass")
    expected = judge.confusion_matrix(labels.argmax(axis=1), logits.argmax(axis=1))
    np.testing.assert_array_equal(confusion(labels, logits, CLASSES), expected)


def test_cross_entropy_has_its_closed_form():
    assert cross_entropy([[1, 0]], [[0, 0]], "multiclass") == pytest.approx(np.log(2))
    assert cross_entropy([[1, 0]], [[0, 0]], "multilabel") == pytest.approx(np.log(2))
    assert cross_entropy([[1, 0]], [[0, 0]], "multilabel", [3, 9]) == pytest.approx(2 * np.log(2))
    assert cross_entropy([[1, 0]], [[-1e4, 0]], "multiclass") == pytest.approx(1e4)


def test_multiclass_has_no_weights():
    with pytest.raises(ValueError, match="multilabel"):
        cross_entropy([[1, 0]], [[0, 0]], "multiclass", [1, 1])


def test_cross_entropy_equals_that_of_torch():
    torch = pytest.importorskip("torch")
    labels, logits = drawn("multiclass")
    expected = torch.nn.CrossEntropyLoss()(torch.tensor(logits), torch.tensor(labels.astype(np.float64)))
    assert cross_entropy(labels, logits, "multiclass") == pytest.approx(float(expected))
    labels, logits = drawn("multilabel")
    weights = positive_weights(labels)
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weights.astype(np.float64)))
    expected = loss(torch.tensor(logits), torch.tensor(labels.astype(np.float64)))
    assert cross_entropy(labels, logits, "multilabel", weights) == pytest.approx(float(expected))


def test_positive_weights_are_negatives_over_positives():
    found = positive_weights(np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]]))
    assert found.dtype == np.float32
    assert found.tolist() == [3, 1, 0]


# Labels that are not known


def partly_known(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Multilabel labels, a third of them NaN, and logits."""
    labels, logits = drawn("multilabel", seed=seed)
    labels[np.random.default_rng([seed, 1]).random(labels.shape) < 0.3] = np.nan
    return labels, logits


def test_scores_of_partly_known_labels_are_those_of_scikit_learn_on_the_known_ones():
    labels, logits = partly_known()
    given = probabilities(logits, "multilabel")
    found = scores(labels, given, CLASSES, "multilabel")
    f1, auroc = [], []
    for column, row in enumerate(found["per_class"].values()):
        known = ~np.isnan(labels[:, column])
        own, asked = labels[known, column].astype(int), given[known, column]
        f1.append(judge.f1_score(own, asked >= 0.5))
        auroc.append(judge.roc_auc_score(own, asked))
        expected = f1[-1], judge.precision_score(own, asked >= 0.5), judge.recall_score(own, asked >= 0.5), auroc[-1]
        assert [row[key] for key in ("f1", "precision", "recall", "auroc")] == pytest.approx(expected)
        assert (row["support"], row["known"]) == (own.sum(), known.sum())
    assert (found["macro_f1"], found["macro_auroc"]) == pytest.approx((np.mean(f1), np.mean(auroc)))


def test_the_loss_of_partly_known_labels_is_the_mean_over_the_known_ones():
    labels, logits = partly_known()
    known, weights = ~np.isnan(labels), np.array([1.0, 2.0, 3.0, 4.0])
    losses = np.stack([weights * np.logaddexp(0, -logits), np.logaddexp(0, logits)])
    expected = np.where(labels[known] == 1, losses[0][known], losses[1][known]).mean()
    assert cross_entropy(labels, logits, "multilabel", weights) == pytest.approx(expected)
    assert np.isnan(cross_entropy(np.full((3, 2), np.nan), np.zeros((3, 2)), "multilabel"))
    per_class_weights = [(labels[:, column] == 0).sum() / (labels[:, column] == 1).sum() for column in range(4)]
    np.testing.assert_allclose(positive_weights(labels), per_class_weights, rtol=1e-6)


def test_a_class_is_scored_where_both_signs_are_known():
    blank = np.nan
    labels = np.array([[1, 1, blank, 1], [0, blank, blank, 1], [1, 1, blank, 1], [0, blank, 0, 1]])
    given = np.array([[0.9, 0.9, 0.1, 0.9], [0.1, 0.9, 0.9, 0.9], [0.2, 0.9, 0.9, 0.9], [0.8, 0.9, 0.9, 0.9]])
    found = scores(labels, given, CLASSES, "multilabel")
    rows = list(found["per_class"].values())
    for row in rows[1:3]:
        assert np.isnan([row[key] for key in ("f1", "precision", "recall", "auroc")]).all()
    assert [row["support"] for row in rows] == [2, 2, 0, 4] and [row["known"] for row in rows] == [4, 2, 1, 4]
    assert found["macro_f1"] == pytest.approx((0.5 + 1) / 2)  # the last is known of all scans
    assert found["macro_auroc"] == pytest.approx(0.75)


def test_known_labels_give_the_same_bits_as_floats_and_as_integers():
    labels, logits = drawn("multilabel")
    given = probabilities(logits, "multilabel")
    assert scores(labels, given, CLASSES, "multilabel") == scores(labels.astype(int), given, CLASSES, "multilabel")
