"""Correlations of rows against SciPy's, pair by pair."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from lungkeras.scores.correlation import rank_correlations, row_correlations


@pytest.mark.parametrize(("ours", "theirs"), [(row_correlations, pearsonr), (rank_correlations, spearmanr)])
def test_each_row_has_the_correlation_that_scipy_finds(ours, theirs):
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, (2, 20, 9)).astype(float)  # with ties
    expected = [theirs(*rows).statistic for rows in zip(first, second, strict=True)]
    np.testing.assert_allclose(ours(first, second), expected, atol=1e-12)


@pytest.mark.parametrize("ours", [row_correlations, rank_correlations])
def test_a_flat_row_has_none(ours):
    flat, other = np.full((2, 4), 0.1), np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    assert np.isnan(ours(flat, other)).all()
