"""Labels that a collection does not know, under every policy."""

import numpy as np
import pandas as pd
import pytest

from lungkeras.datasets.policies import POLICIES, effect, labels_under, unknown_labels, words

BLANK = float("nan")
RECORDS = pd.DataFrame({"edema": [1.0, 0, -1, BLANK], "mass": [1, 0, 0, 1], "pneumonia": [-1.0, BLANK, 1, -1]})
CLASSES = tuple(RECORDS)
UNCERTAIN = {"zeros": 0.0, "ones": 1.0, "ignore": BLANK}


def under(**policy) -> list[list[float]]:
    """The labels, with 9 for NaN."""
    found = labels_under(RECORDS, CLASSES, **policy)
    assert found.dtype == np.float32 and found.shape == (4, 3)
    return np.nan_to_num(found, nan=9).T.tolist()


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: "-".join(policy.values()))
def test_a_policy_decides_what_is_not_known_and_nothing_else(policy):
    found = labels_under(RECORDS, CLASSES, **policy)
    values = RECORDS.to_numpy()
    known = np.isin(values, [0, 1])
    np.testing.assert_array_equal(found[known], values[known])
    np.testing.assert_array_equal(found[values == -1], UNCERTAIN[policy["uncertain"]])
    np.testing.assert_array_equal(found[np.isnan(values)], UNCERTAIN[policy["blank"]])
    assert RECORDS["edema"].iloc[2] == -1, "the records stay as they are"


def test_by_default_uncertain_labels_are_ignored_and_blank_ones_zeros():
    assert under() == [[1, 0, 9, 0], [1, 0, 0, 1], [9, 0, 1, 9]]


def test_a_class_may_have_a_policy_of_its_own():
    assert under(uncertain="zeros, edema=ones") == [[1, 0, 1, 0], [1, 0, 0, 1], [0, 0, 1, 0]]
    assert under(uncertain="pneumonia=ones", blank="edema=ignore") == [[1, 0, 9, 9], [1, 0, 0, 1], [1, 0, 1, 1]]


@pytest.mark.parametrize(
    "policy", ["", "one", "edema", "edema=", "edema=half", "zeros, ones", "edema=ones, edema=zeros"]
)
def test_what_is_no_policy_is_refused(policy):
    with pytest.raises(ValueError, match="expected one of zeros, ones, ignore"):
        words("uncertain", policy)


def test_blank_labels_are_never_ones():
    with pytest.raises(ValueError, match="expected one of zeros, ignore"):
        words("blank", "ones")


def test_what_is_not_known_is_counted_by_class():
    expected = {"uncertain": {"edema": 1, "pneumonia": 2}, "blank": {"edema": 1, "pneumonia": 1}}
    assert unknown_labels(RECORDS, CLASSES) == expected
    assert unknown_labels(RECORDS, ("mass",)) == {}


def test_policies_that_make_the_same_labels_have_the_same_effect():
    unknown = unknown_labels(RECORDS, CLASSES)
    assert effect(unknown, "ones", "zeros") == effect(unknown, "zeros, edema=ones, pneumonia=ones, mass=zeros", "zeros")
    assert effect(unknown, "ones", "zeros") != effect(unknown, "zeros", "zeros")
    assert effect({}, "ones", "ignore") == {}
