"""Two studies side by side: paired as within one study, whatever the order of the scans, and only on the same scans."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from drawn_runs import run_of

from lungkeras.evaluation import comparison
from lungkeras.evaluation.studies import ALL_RUNS, compare_studies, params_that_differ

ONE, OTHER = "covid-resnet34-random", "covid-mobilenet_v3_large-random"


def study(*names: str, skill: float = 1.0, seed: int = 0) -> dict:
    """Runs whose validation split is their test split."""
    runs = {}
    for name in names:
        run = run_of(name, skill, seed)
        both = pd.concat([run.predictions, run.predictions.assign(split="val")], ignore_index=True)
        runs[name] = replace(run, predictions=both)
    return runs


def test_a_pair_across_studies_is_compared_as_one_within_a_study():
    first, second = study(ONE, skill=1.0), study(ONE, skill=0.5, seed=1)
    (row,) = compare_studies(first, second).to_dict("records")
    within = comparison.pairs(first | {OTHER: replace(second[ONE], name=OTHER)}).iloc[0]
    for key in ("difference", "low", "high", "p", "auroc_difference", "auroc_p"):
        assert row[key] == pytest.approx(within[key])
    assert row["difference"] == pytest.approx(row["first_macro_f1"] - row["second_macro_f1"])
    assert (row["scans"], row["shared"], row["note"]) == (120, 120, "")


def test_the_order_of_scans_and_classes_does_not_matter():
    first = study(ONE)
    run = first[ONE]
    turned = replace(run, predictions=run.predictions.iloc[::-1].reset_index(drop=True), classes=run.classes[::-1])
    (row,) = compare_studies(first, {ONE: turned}).to_dict("records")
    assert row["difference"] == 0 and row["p"] == 1


def test_other_scans_or_labels_are_not_paired():
    first = study(ONE)
    predictions = first[ONE].predictions
    fewer = replace(first[ONE], predictions=predictions[predictions["scan"] != "0.png"])
    renamed = replace(first[ONE], predictions=predictions.assign(scan="other-" + predictions["scan"]))
    turned = predictions.assign(label_covid=predictions["label_normal"], label_normal=predictions["label_covid"])
    for run, note in (
        (fewer, "119 of 120 and 119 test scans are the same"),
        (renamed, "0 of 120 and 120 test scans are the same"),
        (replace(first[ONE], predictions=turned), "the same scans have different labels"),
    ):
        (row,) = compare_studies(first, {ONE: run}).to_dict("records")
        assert row["note"] == note and np.isnan([row["difference"], row["p_holm"]]).all()
        assert not np.isnan(row["second_macro_f1"])


def test_labels_that_both_studies_do_not_know_are_equal():
    name = "xray8-resnet34-random"
    studies = study(name, skill=1.0), study(name, skill=0.5, seed=1)
    for runs in studies:
        known = runs[name].predictions["label_effusion"].where(runs[name].predictions["scan"] != "0.png")
        runs[name] = replace(runs[name], predictions=runs[name].predictions.assign(label_effusion=known))
    (row,) = compare_studies(*studies).to_dict("records")
    other = replace(studies[1][name], name="xray8-efficientnet_b1-random")
    within = comparison.pairs(studies[0] | {other.name: other}).iloc[0]
    assert row["note"] == "" and row["difference"] == pytest.approx(within["difference"])


def test_chosen_models_of_other_names_are_a_pair_and_runs_of_one_study_stand_alone():
    table = compare_studies(study(ONE), study(OTHER))
    assert table[["first_run", "second_run"]].to_numpy().tolist() == [[ONE, OTHER], [ONE, ""], ["", OTHER]]
    assert table["note"].tolist() == ["", "only in the first study", "only in the second study"]
    assert not np.isnan(table["difference"][0])


def test_equal_names_of_scans_from_other_data_are_reported():
    runs = study(ONE)
    (row,) = compare_studies(runs, runs, {ONE: ("one hash", "another")}).to_dict("records")
    assert row["note"] == "scans of the same names, prepared differently or from another source"


def test_params_that_differ_stand_once_where_all_runs_have_them():
    first = study(ONE, OTHER)
    change = {"epochs": 9, "runs": "elsewhere"}
    second = {name: replace(run, params=run.params | change) for name, run in first.items()}
    second[ONE] = replace(second[ONE], params=second[ONE].params | {"learning_rate": 0.1})
    table = params_that_differ(first, second)
    assert table.to_numpy().tolist() == [[ALL_RUNS, "epochs", "–", "9"], [ONE, "learning_rate", "0.01", "0.1"]]
    assert params_that_differ(first, first).empty
