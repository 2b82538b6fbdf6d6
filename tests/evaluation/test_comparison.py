"""Runs beside each other: points against scikit-learn, intervals around them, words that follow from both."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from drawn_runs import CLASSES, SCANS, run_of, runs_of
from scipy.stats import norm
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from lungkeras.evaluation import comparison, failures, operating_points
from lungkeras.scores import metrics
from lungkeras.study.runs import Run, ablation_runs, main_runs, patients_of, repeated_as, split_of


def test_scores_of_a_class_are_those_of_scikit_learn_within_their_intervals():
    runs = runs_of(resnet=1.0)
    table = comparison.class_scores(runs)
    assert list(table.columns) == comparison.PER_CLASS_COLUMNS
    for row in table.itertuples():
        predictions = runs[row.run].predictions
        labels, given = predictions[f"label_{row[3]}"], predictions[f"probability_{row[3]}"]
        assert row.auroc == pytest.approx(roc_auc_score(labels, given), abs=1e-12)
        assert row.average_precision == pytest.approx(average_precision_score(labels, given), abs=1e-12)
        if row.dataset == "xray8":
            assert row.f1 == pytest.approx(f1_score(labels, given >= 0.5), abs=1e-12)
        for score in ("f1", "auroc", "average_precision"):
            assert getattr(row, f"{score}_low") <= getattr(row, score) <= getattr(row, f"{score}_high")


def test_f1_at_the_natural_prevalence_is_that_of_scikit_learn_with_repeated_normals():
    runs = runs_of(resnet=1.0)
    table = comparison.natural_prevalence(runs, {"covid": 90, "xray8": 0}, {"covid": 30, "xray8": 50})
    assert list(table) == comparison.PREVALENCE_COLUMNS and table["dataset"].tolist() == ["covid"]
    row = table.iloc[0]
    predictions = runs[row["run"]].predictions
    labels, given = (
        predictions[[f"{kind}_{name}" for name in CLASSES["covid"]]].to_numpy().argmax(axis=1)
        for kind in ("label", "probability")
    )
    repeats = np.where(labels == 2, 4, 1)  # 90 left out of 120 normals: each that is left stands for four
    repeated = [np.repeat(values, repeats) for values in (labels, given)]
    assert row["macro_f1"] == pytest.approx(f1_score(labels, given, average="macro"), abs=1e-12)
    assert row["macro_f1_natural"] == pytest.approx(f1_score(*repeated, average="macro"), abs=1e-12)
    assert row["natural_share"] == pytest.approx((repeated[0] == 2).mean())
    assert row["macro_f1_natural_low"] < row["macro_f1_natural"] < row["macro_f1_natural_high"]


def test_macro_scores_have_intervals_that_a_single_patient_does_not():
    run = run_of("covid-resnet34-random")
    labels, given = (run.predictions.filter(regex=kind).to_numpy() for kind in ("^label", "^probability"))
    found = comparison.macro_scores(labels, given, run.predictions["patient"], "multiclass")
    assert found["macro_f1"] == pytest.approx(metrics.macro_f1(labels, given, "multiclass"), abs=1e-12)
    assert found["macro_auroc"] == pytest.approx(roc_auc_score(labels, given, average="macro"), abs=1e-12)
    assert all(found[f"{s}_low"] < found[s] < found[f"{s}_high"] for s in ("macro_f1", "macro_average_precision"))
    alone = comparison.macro_scores(labels, given, ["one"] * SCANS, "multiclass")
    assert np.isnan(alone["macro_f1_low"]) and np.isnan(alone["macro_auroc_high"])


def test_pairs_are_compared_within_a_dataset_on_the_same_scans():
    runs = runs_of(resnet=3.0, mobilenet=0.3, efficientnet=3.0)
    table = comparison.pairs(runs)
    assert len(table) == 6 and (table["p_holm"] >= table["p"]).all()
    best = "covid-resnet34-random"
    assert comparison.not_significantly_different(best, table) == ["covid-efficientnet_b1-random"]
    row = table[(table["first"] == best) & (table["second"] == "covid-mobilenet_v3_large-random")].iloc[0]
    assert row["low"] > 0 and row["auroc_low"] > 0 and row["auroc_p_holm"] < 0.01
    other = runs[best].predictions.assign(scan=lambda table: "other " + table["scan"])
    runs[best] = replace(runs[best], predictions=other)
    assert best not in comparison.pairs(runs)[["first", "second"]].to_numpy()
    assert comparison.pairs({}).empty


def test_repeats_of_a_run_are_shown_by_their_spread_and_are_no_models_of_their_own():
    names = [f"covid-resnet34-random{end}" for end in ("", "-seed1", "-seed2")]
    runs = {name: run_of(name, seed=seed) for seed, name in enumerate(names)}
    runs |= {name: run_of(name) for name in [f"covid-efficientnet_b1-random-lr0.1{end}" for end in ("", "-seed1")]}
    table = comparison.seeds(runs).set_index("run")
    assert list(table.index) == ["covid-resnet34-random", "covid-efficientnet_b1-random-lr0.1"]
    row = table.loc["covid-resnet34-random"]
    assert (row["seeds"], row["best_epoch_least"], row["best_epoch_most"]) == (3, 3, 5)
    assert row["macro_f1_least"] <= row["macro_f1_mean"] <= row["macro_f1_most"]
    assert list(main_runs(runs)) == ["covid-resnet34-random"]
    assert list(ablation_runs(runs)) == ["covid-efficientnet_b1-random-lr0.1"]
    assert repeated_as("covid-efficientnet_b1-random-lr0.1-seed1") == "covid-efficientnet_b1-random-lr0.1"
    assert comparison.seeds(main_runs(runs)).empty


def test_aurocs_stand_beside_others_where_the_class_is_the_same():
    table = comparison.auroc_beside_published(comparison.class_scores(runs_of(resnet=1.0))).set_index("class")
    assert list(table.index) == ["atelectasis", "effusion"]
    assert table.loc["atelectasis", "chexnet_2017"] == 0.8094
    assert table.loc["effusion", "wang_2017_chestxray14"] == 0.7585
    assert table["xray8-resnet34-random"].between(0.5, 1).all()
    assert comparison.auroc_beside_published(comparison.class_scores({})).empty


@pytest.mark.parametrize("scans", [45, 100, 300])
@pytest.mark.parametrize("errors", [0.02, 0.05, 0.2])
def test_the_interval_of_macro_auroc_covers(scans, errors):
    random, covered, studies = np.random.default_rng([scans, int(100 * errors)]), [], 300
    apart = -np.sqrt(2) * norm.ppf(errors)  # an AUROC of 1 - errors
    for _ in range(studies):
        labels = np.eye(3, dtype=int)[random.choice(3, scans, p=[0.4, 0.4, 0.2])]
        given = apart * labels + random.normal(size=labels.shape)
        low, high = comparison.macro_auroc_interval(labels, given, np.arange(scans))
        covered.append(low <= 1 - errors <= high)
    noise = 2 * np.sqrt(0.05 * 0.95 / studies)
    assert 0.92 - noise <= np.mean(covered) <= 0.98 + noise


def test_a_run_is_better_than_a_baseline_where_the_paired_test_says_so():
    runs = runs_of(resnet=1.0)
    names = {run.dataset: run for run in runs.values()}
    labels = {name: run.predictions.filter(regex="^label").to_numpy() for name, run in names.items()}
    baselines = {(name, "linear"): np.full(values.shape, 1 / 3) for name, values in labels.items()}
    same = names["covid"].predictions.filter(regex="^probability").to_numpy()
    table = comparison.against(runs, baselines | {("covid", "itself"): same})
    assert list(table) == comparison.BASELINE_COLUMNS
    table = table.set_index(["dataset", "baseline"])
    assert table.loc[("covid", "linear"), "better"] == table.loc[("xray8", "linear"), "better"] == "yes"
    itself = table.loc[("covid", "itself")]
    assert itself["better"] == "cannot tell" and itself["p"] == 1 and itself["low"] < 0 < itself["high"]
    for row in table.reset_index().itertuples():
        assert row.difference == pytest.approx(row.macro_f1 - row.baseline_macro_f1, abs=1e-12)
    with pytest.raises(ValueError, match="expected the same test split"):
        comparison.against(runs, {("covid", "linear"): same[:5]})


def test_the_share_of_normal_scans_in_the_whole_list_counts_other_findings():
    runs = runs_of(resnet=1.0)
    table = comparison.natural_prevalence(runs, {"covid": 90}, {"covid": 30}, {"covid": 240})
    assert table.loc[0, "list_share"] == 0.5


def test_no_interval_of_a_perfect_model_is_of_zero_width():
    run = run_of("covid-resnet34-random", skill=100.0)
    frames = [comparison.class_scores({run.name: run}), pd.DataFrame([comparison.macro_scores(
        run.predictions.filter(regex="^label").to_numpy(), run.predictions.filter(regex="^prob").to_numpy(),
        run.predictions["patient"], "multiclass")])]  # fmt: skip
    for frame in frames:
        for low in [name for name in frame if name.endswith("_low")]:
            assert (frame[low] < frame[low.replace("_low", "_high")]).all(), low


def partly_known() -> Run:
    """A run of findings: of effusion every third label is not known, of no_finding no 0 is known."""
    run = run_of("xray8-resnet34-random")
    frame = run.predictions.astype({"label_effusion": float, "label_no_finding": float})
    frame.loc[frame.index % 3 == 0, "label_effusion"] = np.nan
    frame.loc[frame["label_no_finding"] == 0, "label_no_finding"] = np.nan
    return replace(run, predictions=frame)


def test_scores_of_partly_known_classes_are_those_of_scikit_learn_on_the_known_scans():
    run = partly_known()
    table = comparison.class_scores({run.name: run}).set_index("class")
    known = run.predictions[run.predictions["label_effusion"].notna()]
    labels, given = known["label_effusion"].astype(int), known["probability_effusion"]
    row = table.loc["effusion"]
    assert (row["known"], row["support"], row["prevalence"]) == (80, labels.sum(), labels.mean())
    assert row["f1"] == pytest.approx(f1_score(labels, given >= 0.5))
    assert row["auroc"] == pytest.approx(roc_auc_score(labels, given))
    assert row["average_precision"] == pytest.approx(average_precision_score(labels, given))
    assert row["auroc_low"] < row["auroc"] < row["auroc_high"]
    assert table["note"].to_dict() == {"atelectasis": "", "effusion": "", "no_finding": comparison.NO_LABELS}
    assert table.loc["no_finding", ["f1", "auroc", "average_precision", "f1_low", "auroc_low"]].isna().all()
    scores = comparison.macro_scores(*split_of(run, "test"), patients_of(run, "test"), run.task)
    for name in ("f1", "auroc", "average_precision"):
        assert scores[f"macro_{name}"] == pytest.approx(table[name].iloc[:2].mean())


def test_runs_whose_policies_made_other_labels_are_no_pair():
    one, other = partly_known(), run_of("xray8-mobilenet_v3_large-random")
    assert comparison.pairs({run.name: run for run in (one, other)}).empty
    again = replace(one, name="xray8-efficientnet_b1-random")
    assert len(comparison.pairs({run.name: run for run in (one, again)})) == 1


def test_no_error_is_found_where_nothing_is_known():
    run = partly_known()
    labels, given = split_of(run, "test")
    decided = given >= 0.5
    counts = failures.error_counts({run.name: run}).set_index("class")
    assert counts.loc["effusion", "missed"] == ((labels[:, 1] == 1) & ~decided[:, 1]).sum()
    assert counts.loc["effusion", "called"] == ((labels[:, 1] == 0) & decided[:, 1]).sum()
    assert counts.loc["no_finding", "called"] == 0
    points = operating_points.operating_points({run.name: both_splits(run)}).set_index("class")
    negatives = labels[:, 1] == 0
    row = points.loc["effusion"].iloc[0]
    assert row["specificity"] == pytest.approx((given[negatives, 1] < row["threshold"]).mean())
    assert points.loc["no_finding", "sensitivity"].isna().all()


def both_splits(run: Run) -> Run:
    """The run with its test scans as validation too."""
    return replace(run, predictions=pd.concat([run.predictions, run.predictions.assign(split="val")]))
