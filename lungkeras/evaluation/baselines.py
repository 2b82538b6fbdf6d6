"""Baselines without a network, which any model has to beat: same test scans, same scores and intervals."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from lungkeras.evaluation.comparison import macro_scores
from lungkeras.evaluation.run_tables import INTERVALS, linear_probabilities, of_every_class
from lungkeras.preparation.folder import Prepared

MAJORITY, EVERY_CLASS, METADATA, LINEAR = "majority", "every class", "metadata", "linear"
METADATA_COLUMNS = ("age", "sex", "view", "follow_up", "scanner", "reader")
COLUMNS = ["dataset", "baseline", *INTERVALS, "test_scans"]


def trivial_baselines(datasets: Iterable[Prepared], seed: int = 0) -> pd.DataFrame:
    """One row per dataset and baseline, with COLUMNS.

    majority     every scan is given the training split's most frequent class; in a multilabel dataset, each finding
                 gets its more frequent answer
    every class  every finding is called on every scan (multilabel only)
    metadata     logistic regression on age, sex, view, follow-up, scanner and readers, as far as the collection records
    them
    linear       logistic regression on the pixels (lungkeras.evaluation.linear_probabilities)
    """
    datasets = list(datasets)
    return scores_of(datasets, answers(datasets, seed))


def answers(datasets: Iterable[Prepared], seed: int = 0) -> dict[tuple[str, str], np.ndarray]:
    """{(dataset, baseline): probabilities of its test scans, float (scans, classes)}, baselines as above."""
    return {(prepared.name, name): given for prepared in datasets for name, given in _answers(prepared, seed)}


def scores_of(datasets: Iterable[Prepared], given: Mapping[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    """The table of `trivial_baselines`, from what `answers` returns."""
    rows, known = [], {prepared.name: prepared for prepared in datasets}
    for (dataset, name), probabilities in given.items():
        prepared = known[dataset]
        labels, patients = prepared.labels("test"), prepared.split("test")["patient"]
        scores = macro_scores(labels, probabilities, patients, prepared.task)
        rows.append({"dataset": dataset, "baseline": name} | scores | {"test_scans": len(labels)})
    return pd.DataFrame(rows, columns=COLUMNS)


def _answers(prepared: Prepared, seed: int):
    """(baseline, probabilities of the test scans (scans, classes))."""
    scans, labels = len(prepared.split("test")), prepared.labels("train")
    frequent = (labels == 1).sum(axis=0) / np.maximum((~np.isnan(labels)).sum(axis=0), 1)
    yield MAJORITY, np.tile(frequent, (scans, 1))
    if prepared.task == "multilabel":
        yield EVERY_CLASS, np.ones((scans, len(frequent)))
    if any(name in prepared.records for name in METADATA_COLUMNS):
        yield METADATA, metadata_probabilities(prepared)
    yield LINEAR, linear_probabilities(prepared, seed)


def metadata_probabilities(prepared: Prepared) -> np.ndarray:
    """The predictions of metadata alone for the test scans: float (scans, classes).

    Logistic regression; for a multilabel dataset one per class, balanced as the networks' loss is. Numbers are
    standardised, and a missing one is the median of the training split; each word becomes a column.
    """
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    multiclass = prepared.task == "multiclass"
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    )
    linear = LogisticRegression(max_iter=500, class_weight=None if multiclass else "balanced")
    labels = prepared.labels("train")
    if multiclass and len(np.unique(labels.argmax(axis=1))) == 1:
        return np.tile(labels[0].astype(float), (len(prepared.split("test")), 1))
    train, test = columns.fit_transform(_metadata(prepared, "train")), columns.transform(_metadata(prepared, "test"))
    return of_every_class(linear, train, labels, prepared.task, [test])[0]


def _metadata(prepared: Prepared, split: str) -> pd.DataFrame:
    records = prepared.split(split)
    known = records[[name for name in METADATA_COLUMNS if name in records]]
    numbers = {name: known[name].to_numpy(float, na_value=np.nan) for name in known.select_dtypes("number")}
    words = {name: known[name].fillna("unknown").astype(str) for name in known if name not in numbers}
    return known.assign(**numbers, **words)
