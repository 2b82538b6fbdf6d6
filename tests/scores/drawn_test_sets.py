"""Labels, decisions and patients of drawn test sets, for the tests of scores."""

import numpy as np

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


def most_likely(scores):
    return np.eye(CLASSES, dtype=int)[scores.argmax(axis=-1)]
