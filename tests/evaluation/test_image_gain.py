"""What images add to metadata: for few patients the interval knows that few teach a regression little."""

import numpy as np
import pandas as pd
import pytest
from drawn_tables import CLASSES, drawn
from scipy.special import logit
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression

from lungkeras.evaluation import image_gain


@pytest.fixture(scope="module")
def asked():
    """Metadata, what they tell alone, and the further arguments of `image_gain.image_gain`, of 40 patients."""
    table, _ = drawn(np.random.default_rng(3), 40)
    labels, given = (table[[f"{kind}_{name}" for name in CLASSES]].to_numpy() for kind in ("label", "probability"))
    metadata, known = table[["age", "sex"]], np.ones(labels.shape, dtype=bool)
    blocks = table["patient"].to_numpy()
    folds = image_gain.folds_of(blocks)
    alone = image_gain.metadata_probabilities(metadata, labels, known, folds)
    return metadata, alone, given, labels, known, blocks, folds


def test_the_interval_lies_around_the_middle_of_unseen_and_seen_scans(asked):
    metadata, _, given, labels, known, blocks, folds = asked
    rows, moved = image_gain.image_gain(*asked)
    columns = image_gain.metadata_columns(metadata)
    odds = logit(given[:, [0]])
    both = np.concatenate([columns, (odds - odds.mean()) / odds.std()], axis=1)
    seen = []
    for part in (columns, both):
        model = LogisticRegression(tol=1e-10, max_iter=1000).fit(part, labels[:, 0])
        predicted = model.predict_proba(part)[:, [1]]
        seen.append(image_gain.within_folds(predicted, labels[:, [0]], known[:, [0]], blocks, folds)[0])
    row, patients = rows[0], len(moved)
    middle = (row["gain"] + seen[1] - seen[0]) / 2
    variance = patients / (patients - 1) * (moved[:, 0] ** 2).sum() + (middle - row["gain"]) ** 2
    reach = student.ppf(0.975, patients - 1) * np.sqrt(variance)
    assert (row["gain_low"], row["gain_high"]) == pytest.approx((middle - reach, middle + reach), abs=1e-4)
    assert rows[-1]["gain"] == pytest.approx(np.mean([each["gain"] for each in rows[:-1]]))
    assert rows[-1]["gain_low"] < rows[-1]["gain"] < rows[-1]["gain_high"]


def test_for_many_patients_it_lies_around_the_gain(asked, monkeypatch):
    monkeypatch.setattr(image_gain, "FEW", 0)
    rows, moved = image_gain.image_gain(*asked)
    for place, row in enumerate(rows):
        reach = student.ppf(0.975, 39) * np.sqrt(40 / 39 * (moved[:, place] ** 2).sum())
        assert (row["gain_low"], row["gain_high"]) == pytest.approx((row["gain"] - reach, row["gain"] + reach))
    assert set(rows[0]) == {f"{name}{end}" for name in ("metadata_auroc", "both_auroc", "gain")
                            for end in ("", "_low", "_high")}  # fmt: skip
    assert pd.DataFrame(rows).notna().all(axis=None)
