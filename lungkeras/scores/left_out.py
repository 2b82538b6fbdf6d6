"""Average precision with a variance from leaving out one patient after another, for few patients.

The derivative by each patient's weight (lungkeras.scores.precision) is the same for many patients. For few it is too
small, since a patient with the class moves the precision at every threshold.
"""

from collections.abc import Sequence

import numpy as np

from lungkeras.scores import precision
from lungkeras.scores.intervals import patient_places
from lungkeras.scores.rankings import ranking

MOST_WEIGHTS = 100_000  # patients times scans; beyond, derivatives are as good and faster


def average_precisions(labels: np.ndarray, scores: np.ndarray, patients: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """(average precisions (columns,), influence of each sorted patient on them (patients, columns)).

    As `precision.average_precisions`, whose influences are returned for many patients and for a column that is
    undefined without one of them. The sum of squares of the influences, times n / (n - 1), is the jackknife's variance
    (Efron and Stein 1981) times r / (r - 1), where r of the n patients have the class.
    """
    points, shares = precision.average_precisions(labels, scores, patients)
    places, count = patient_places(patients)
    if count < 2 or count * len(places) > MOST_WEIGHTS:
        return points, shares
    for column in np.flatnonzero(~np.isnan(points)):
        own = ~np.isnan(labels[:, column])
        here = np.unique(places[own])
        weights = (here[:, None] != places[own]).astype(np.float64)
        without = ranking(labels[own, column], scores[own, column], weights)[1]
        carriers = len(np.unique(places[own & (labels[:, column] == 1)]))
        if carriers > 1 and not np.isnan(without).any():
            few = np.sqrt(carriers / (carriers - 1))
            shares[here, column] = few * (1 - 1 / len(here)) * (without.mean() - without)
    return points, shares
