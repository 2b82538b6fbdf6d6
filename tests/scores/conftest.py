"""Fixtures of the scores' tests."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def scored():
    """Labels, tied scores, patients."""
    random = np.random.default_rng(3)
    patients = random.integers(40, size=150)
    labels = (random.random((150, 4)) < [0.5, 0.2, 0.1, 0.4]).astype(int)
    scores = np.round(labels * 0.5 + random.random(labels.shape), 1)
    return labels, scores, patients
