"""Scores by group: against scikit-learn on the group alone, and silence where there is too little."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from lungkeras.evaluation.subgroups import COLUMNS, NOT_RECORDED, age_bands, subgroups
from lungkeras.preparation.folder import Prepared
from lungkeras.study.runs import Run

FINDINGS = ("atelectasis", "effusion", "no_finding")
SCANS = 160


@pytest.fixture(scope="module")
def drawn() -> tuple[Run, Prepared]:
    """A run that sees AP scans and guesses at PA ones; two scans a patient; the records in another order."""
    random = np.random.default_rng(0)
    labels = (random.random((SCANS, 3)) < 0.4).astype(int)
    records = pd.DataFrame(
        {"scan": [f"{n}.png" for n in range(SCANS)], "patient": [f"p{n // 2}" for n in range(SCANS)]}
    )
    records = records.assign(split="test", view=np.where(np.arange(SCANS) % 4 < 2, "AP", "PA"))
    records["sex"] = ["F"] * 150 + ["M"] * 8 + [None] * 2
    records["age"] = [15] * 8 + [30] * 150 + [412, 70]
    records[list(FINDINGS)] = labels
    skill = np.where(records["view"] == "AP", 3.0, 0.0)[:, None]
    given = 1 / (1 + np.exp(-(skill * (labels - 0.5) + random.normal(size=labels.shape))))
    predictions = records[["split", "scan", "patient"]].copy()
    for place, name in enumerate(FINDINGS):
        predictions[f"label_{name}"], predictions[f"probability_{name}"] = labels[:, place], given[:, place]
    params = {"dataset": "xray8", "backbone": "resnet34", "weights": "random"}
    run = Run("xray8-resnet34-random", params, pd.DataFrame(), predictions, {}, FINDINGS, "multilabel")
    shuffled = records.sample(frac=1, random_state=1).reset_index(drop=True)
    return run, Prepared("xray8", "multilabel", FINDINGS, 8, 0.0, 1.0, shuffled, {})


@pytest.fixture(scope="module")
def table(drawn) -> pd.DataFrame:
    run, prepared = drawn
    return subgroups({run.name: run}, {"xray8": prepared})


def test_a_group_scores_as_scikit_learn_scores_it_alone(drawn, table):
    run, prepared = drawn
    assert list(table.columns) == COLUMNS
    view = prepared.records.set_index("scan")["view"].reindex(run.predictions["scan"]).to_numpy()
    for row in table[table["attribute"] == "view"].itertuples():
        own = run.predictions[view == row.group]
        labels, given = own.filter(like="label_").to_numpy(), own.filter(like="probability_").to_numpy()
        assert (row.scans, row.patients, row.classes) == (len(own), own["patient"].nunique(), 3)
        assert row.macro_f1 == pytest.approx(f1_score(labels, given >= 0.5, average="macro"), abs=1e-12)
        assert row.macro_auroc == pytest.approx(roc_auc_score(labels, given, average="macro"), abs=1e-12)
        assert row.macro_auroc_low < row.macro_auroc < row.macro_auroc_high


def test_a_planted_gap_between_groups_is_found(table):
    seen, guessed = (table.set_index("group").loc[view] for view in ("AP", "PA"))
    assert seen["macro_auroc_low"] > guessed["macro_auroc_high"]
    assert guessed["macro_auroc_low"] < 0.5 < guessed["macro_auroc_high"]


def test_a_small_group_has_no_score_and_says_why(table):
    rows = table.set_index(["attribute", "group"])
    for place in (("sex", "M"), ("age", "under 18"), ("age", "unknown"), ("sex", "unknown"), ("age", "60 to 79")):
        assert rows.loc[place, "note"] == "too few" and np.isnan(rows.loc[place, "macro_f1"])
    assert rows.loc[("age", "18 to 39"), "note"] == "" and rows.loc[("age", "18 to 39"), "scans"] == 150
    assert table.loc[table["attribute"] == "age", "group"].tolist() == ["under 18", "18 to 39", "60 to 79", "unknown"]
    assert rows.xs("sex").loc[["F", "M", "unknown"], "scans"].tolist() == [150, 8, 2]


def test_a_class_that_hardly_any_scan_of_a_group_has_does_not_count(drawn):
    run, prepared = drawn
    rare = run.predictions.assign(label_effusion=[1] * 4 + [0] * (SCANS - 4))
    run = Run(run.name, run.params, run.history, rare, run.metrics, run.classes, run.task)
    row = subgroups({run.name: run}, {"xray8": prepared}).set_index("group").loc["F"]
    assert row["classes"] == 2 and 0.5 < row["macro_auroc"] < 1


def test_what_a_collection_does_not_record_is_noted_once(drawn):
    run, prepared = drawn
    bare = Prepared("xray8", "multilabel", FINDINGS, 8, 0.0, 1.0, prepared.records.drop(columns=["age", "sex"]), {})
    table = subgroups({run.name: run}, {"xray8": bare}).set_index("attribute")
    assert table.loc["age", "note"] == table.loc["sex", "note"] == NOT_RECORDED
    assert pd.isna(table.loc["age", "run"]) and len(table.loc[["view"]]) == 2


def test_ages_fall_into_bands_by_their_lower_ends():
    ages = pd.Series([0, 17, 18, 39, 40, 59, 60, 79, 80, 120, 121, 412, None], dtype="Int64")
    assert age_bands(ages).tolist() == [
        *["under 18"] * 2, *["18 to 39"] * 2, *["40 to 59"] * 2, *["60 to 79"] * 2, *["80 and over"] * 2,
        *["unknown"] * 3,
    ]  # fmt: skip
