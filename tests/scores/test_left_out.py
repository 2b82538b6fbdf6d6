"""Average precision without each patient in turn: its variance is the jackknife's; for many patients derivatives do."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from lungkeras.scores import left_out, precision


def drawn(patients: int, seed: int = 0):
    """Labels and scores (scans, 2), of which some labels are unknown, and patients of one to three scans."""
    random = np.random.default_rng(seed)
    names = np.repeat(np.arange(patients), random.integers(1, 4, patients)).astype(str)
    labels = (random.random((len(names), 2)) < 0.3).astype(int)
    scores = np.round(labels + random.normal(size=labels.shape), 1)
    return labels, scores, names, random.random(labels.shape) < 0.9


def marked(labels, known):
    """Labels with NaN where they are unknown."""
    return np.where(known, labels, np.nan)


def test_influences_are_those_of_the_jackknife():
    labels, scores, names, known = drawn(25)
    points, shares = left_out.average_precisions(marked(labels, known), scores, names)
    for column in range(2):
        own = known[:, column]
        is_so, given, patients = labels[own, column], scores[own, column], names[own]
        assert points[column] == pytest.approx(average_precision_score(is_so, given), abs=1e-12)
        each = np.unique(patients)
        without = [average_precision_score(is_so[patients != name], given[patients != name]) for name in each]
        carriers, count = len(set(patients[is_so == 1])), len(each)
        jackknife = (count - 1) * np.var(without)
        expected = jackknife * carriers / (carriers - 1)
        assert count / (count - 1) * (shares[:, column] ** 2).sum() == pytest.approx(expected, rel=1e-9)
        assert shares[:, column].sum() == pytest.approx(0, abs=1e-9)


def test_for_many_patients_they_are_the_derivatives(monkeypatch):
    labels, scores, names, known = drawn(350)
    monkeypatch.setattr(left_out, "MOST_WEIGHTS", 1_000_000)
    jackknife, derivatives = (
        module.average_precisions(marked(labels, known), scores, names)[1] for module in (left_out, precision)
    )
    assert (jackknife**2).sum(axis=0) == pytest.approx((derivatives**2).sum(axis=0), rel=0.05)
    monkeypatch.setattr(left_out, "MOST_WEIGHTS", 1)
    np.testing.assert_array_equal(left_out.average_precisions(marked(labels, known), scores, names)[1], derivatives)


def test_a_class_that_is_undefined_without_a_patient_keeps_its_derivatives():
    labels, scores, names, known = drawn(12)
    labels[:, 0] = names == "3"
    _, shares = left_out.average_precisions(marked(labels, known), scores, names)
    np.testing.assert_array_equal(
        shares[:, 0], precision.average_precisions(marked(labels, known), scores, names)[1][:, 0]
    )
    assert np.isfinite(shares).all()
