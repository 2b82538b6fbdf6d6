"""Nearest neighbours in feature space, beside scikit-learn's."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from lungkeras.explanation.neighbours import nearest


def test_the_nearest_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    among, asked = rng.normal(size=(50, 8)), rng.normal(size=(4, 8))
    places, cosines = nearest(asked, among, 5)
    distances, expected = NearestNeighbors(n_neighbors=5, metric="cosine").fit(among).kneighbors(asked)
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_allclose(cosines, 1 - distances, atol=1e-6)


def test_nan_features_have_no_neighbours_and_few_scans_are_all_returned():
    among = np.array([[1.0, 0.0], [np.nan, np.inf], [-1.0, 0.0]])
    places, cosines = nearest(np.array([[2.0, 0.0]]), among, 9)
    assert places.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(cosines, [[1, 0, -1]])
