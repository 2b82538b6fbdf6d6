"""Readings: every number of a sentence is that of the table, whatever the study; an empty table raises nothing."""

import numpy as np
import pandas as pd
import pytest

from lungkeras.report import readings
from lungkeras.report.figures import articles
from lungkeras.report.readings import scores as read
from lungkeras.report.readings import words

RUNS = ["mine-resnet34-random", "mine-efficientnet_b1-transfer"]


def flat(text: str) -> str:
    """A reading on one line."""
    return " ".join(text.split())


def counts(**test) -> pd.DataFrame:
    """A table of class_counts: train 20 of each class, and the test scans given; every scan is a patient."""
    table = pd.DataFrame({"train": 20, "test": test}).rename_axis(index=None)
    table["all"] = table["train"] + table["test"]
    return pd.concat([table, *(table.sum().to_frame(name).T for name in ("scans", "patients"))])


def table_3(*scores: float, published: float = np.nan) -> pd.DataFrame:
    """Table 3 of RUNS on a collection of one's own, with intervals of 0.1 to either side."""
    rows = [
        {"dataset": "mine", "run": run, "backbone": run.split("-")[1], "weights": run.split("-")[2], "macro_f1": score,
         "macro_f1_low": score - 0.1, "macro_f1_high": score + 0.1,
         "published_macro_f1": published, "best_epoch": epoch}
        for epoch, (run, score) in enumerate(zip(RUNS, scores, strict=False), start=2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def pairs(p: float, difference: float = -0.2) -> pd.DataFrame:
    return pd.DataFrame(
        [{"dataset": "mine", "first": RUNS[0], "second": RUNS[1], "difference": difference, "p_holm": p}]
    )


def test_a_paragraph_has_lines_of_bounded_length_and_no_empty_sentence():
    text = words.paragraph("A word. " * 60, "", "The end.")
    assert max(map(len, text.splitlines())) <= words.WIDTH
    assert flat(text).endswith("A word. The end.")


def test_what_was_learned_is_the_first_sentence_of_each_reading():
    found = readings.learned("ResNet-34 has 0.9 (0.8–0.95). Another.", "", "One of 3.\nSecond line. 7 more.")
    assert found == "- ResNet-34 has 0.9 (0.8–0.95).\n- One of 3."


def test_the_selection_names_what_it_leaves_out_and_not_what_it_does_not():
    steps = [("found", 10), ("left out: file absent", 0), ("left out: a film of the side", 3), ("kept", 7)]
    text = flat(readings.of_selection(pd.DataFrame(steps, columns=["step", "scans"])))
    assert text == "The selection keeps 7 of 10 scans. Left out: 3 (a film of the side)."
    whole = pd.DataFrame([("found", 5), ("kept", 5)], columns=["step", "scans"])
    assert flat(readings.of_selection(whole)) == "The selection keeps all 5 scans."


def test_counts_name_the_largest_class_the_smallest_and_those_too_small_to_score():
    text = flat(readings.of_counts(counts(sick=40, well=5)))
    assert "85 scans of 85 patients; the most are of sick (60, 2.4 times as many), the fewest of well (25)." in text
    assert "The test split holds 45 scans (53%)" in text
    assert "Too few to score a class well: well." in text
    assert "every class has 30" in flat(readings.of_counts(counts(sick=10, well=10)))


def test_a_patient_in_two_splits_is_reported():
    records = pd.DataFrame({"patient": ["a", "a", "b"], "split": ["train", "train", "test"]})
    assert flat(readings.of_separation(records)) == "All 2 patients have their scans in one split."
    records.loc[1, "split"] = "test"
    assert "1 of 2 patients have scans in more than one split" in flat(readings.of_separation(records))


def test_leakage_says_whether_patients_are_known():
    row = {"dataset": "mine", "patients_known": True, "random_patient_in_train": 0.25, "shared_duplicates": 2,
           "random_auroc_by_scan": 0.9, "random_auroc_by_patient": 0.8}  # fmt: skip
    text = flat(readings.of_leakage(pd.DataFrame([row])))
    assert "patients of 25.0% of test scans" in text and "0.900" in text and "0.800" in text
    assert "2 pairs of copies are in two splits." in text
    unknown = row | {"patients_known": False, "shared_duplicates": 0}
    both = flat(readings.of_leakage(pd.DataFrame([row, unknown | {"dataset": "other"}])))
    assert "Other: the collection names no patients" in both
    assert readings.learned(both).count("\n") <= 2 and "Other" in readings.learned(both)


def test_shortcuts_name_the_probe_furthest_beyond_its_limit_and_leave_the_lungs_aside():
    columns = ["dataset", "name", "class", "auroc", "low", "high", "alarm"]
    rows = [
        ("mine", "border", "sick", 0.65, 0.62, 0.7, True),
        ("mine", "centre_blacked_out", "sick", 0.8, 0.7, 0.9, False),
        ("mine", "thumbnail", "sick", 0.99, 0.9, 1.0, False),
    ]
    found = pd.DataFrame(rows, columns=columns)
    text = flat(readings.of_shortcuts(found))
    assert text.startswith("1 of 2 probes give an alarm: sick from border and corners, with an AUROC of 0.650")
    assert text.endswith("sick from 8 × 8 and histogram, with an AUROC of 0.990.")
    assert "None of 2 probes" in flat(readings.of_shortcuts(found.assign(alarm=False)))
    assert "too few patients" in readings.of_shortcuts(found.assign(auroc=np.nan, alarm=False))


def test_labels_that_cannot_be_estimated_are_named():
    rows = [("all", 0.02, 0.01, 0.03), ("sick", np.nan, np.nan, np.nan), ("well", 0.02, 0.01, 0.03)]
    labels = pd.DataFrame(rows, columns=["class", "rate", "low", "high"])
    text = flat(readings.of_labels(labels))
    assert text == "About 2.0% of the labels look wrong (1.0% to 3.0%). No estimate is possible for sick."
    assert "can’t be estimated" in readings.of_labels(labels.assign(rate=np.nan))


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([1.0, 0.5, 0.4], "epoch 3 of 3: 0.400, from 1.000 after the first. It still fell"),
        ([1.0, 0.3, 0.4], "epoch 2 of 3: 0.300, from 1.000 after the first. At the end it was 0.400, with 0.100"),
        ([np.nan] * 3, "diverged"),
    ],
)
def test_a_history_tells_when_the_loss_was_lowest(losses, words):
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": 0.1, "val_loss": losses})
    assert words in flat(readings.of_history(history))


def test_a_run_names_its_best_and_its_worst_class():
    scores = {"macro_f1": 0.7, "per_class": {"sick": {"f1": 0.6, "support": 8}, "well": {"f1": 0.8, "support": 1}}}
    text = flat(readings.of_run(scores))
    assert text == "Macro F1 is 0.700: well is recognised best (F1 0.800), sick worst (0.600 on 8 scans)."
    none = {"macro_f1": np.nan, "per_class": {"sick": {"f1": np.nan, "support": 0}}}
    assert "No class" in readings.of_run(none)


def test_a_confusion_names_the_most_frequent_error():
    table = pd.DataFrame([[5, 3], [1, 11]], index=["sick", "well"], columns=["sick", "well"])
    text = flat(readings.of_confusion(table))
    assert text.startswith("4 of 20 scans are misclassified (20.0%).")
    assert text.endswith("The most frequent error: 3 scans of sick predicted as well.")
    diagonal = pd.DataFrame(np.diag([5, 3]), index=["sick", "well"], columns=["sick", "well"])
    assert flat(readings.of_confusion(diagonal)) == "None of 8 scans is misclassified."


def test_an_error_names_its_scan_and_a_scan_without_findings():
    errors = pd.DataFrame(
        [("a.png", "sick", "", 0.7), ("b.png", "sick|worn", "well", 0.9)],
        columns=["scan", "true", "predicted", "confidence"],
    )
    assert flat(readings.of_errors(errors)) == (
        "The most confident error has a confidence of 90.0%: b.png shows sick and worn, and the model predicts well."
    )
    assert "predicts no class" in flat(readings.of_errors(errors.head(1)))


def test_pointing_counts_what_is_above_the_prior_without_the_randomised_model():
    row = {"dataset": "mine", "class": "all", "findings": 20, "above_prior_low": np.nan}
    rows = [
        row | {"run": "", "method": "prior", "hit": 0.5},
        row | {"run": RUNS[0], "method": "grad_cam", "hit": 0.8, "above_prior_low": 0.1},
        row | {"run": RUNS[1], "method": "grad_cam", "hit": 0.6, "above_prior_low": -0.1},
        row | {"run": "randomised", "method": "grad_cam", "hit": 0.95, "above_prior_low": 0.2},
    ]
    text = flat(readings.of_pointing(pd.DataFrame(rows)))
    assert text.startswith("Mine: maps of 1 of 2 models") and "at most 0.80 of 20 findings (ResNet-34)." in text
    assert "No test scan has a known box" in flat(readings.of_pointing(pd.DataFrame(rows).assign(findings=0)))


def test_randomised_maps_are_compared_with_those_of_other_scans():
    rows = [("mine", "grad_cam", step, ssim, 0.2) for step, ssim in enumerate([1.0, 0.6, 0.3])]
    fallen = pd.DataFrame(rows, columns=["dataset", "method", "step", "ssim", "other_ssim"])
    assert "Mine 0.30, more than between maps of different scans (0.20)" in flat(readings.of_randomisation(fallen))


def test_weights_count_the_channels_that_hold_half_of_the_evidence():
    activations = np.ones((2, 2, 4)) * np.array([1.0, 1.0, 4.0, 0.0])
    text = flat(readings.of_weights(np.array([1.0, -1.0, 1.0, 2.0]), activations))
    assert "3 of 4 channels have a positive weight" in text and "strongest 1 channel holds half" in text
    assert "None of them is active" in flat(readings.of_weights(-np.ones(4), activations))


def test_a_map_points_into_a_box_or_beside_it():
    box = np.array([[0.5, 0.5, 1.0, 1.0]])
    assert "inside the box" in readings.of_map(np.array([0.75, 0.6]), box, 0.3)
    assert "outside the box" in flat(readings.of_map(np.array([0.25, 0.6]), box, 0.0))
    assert "has no known box" in flat(readings.of_map(np.array([0.25, 0.6]), np.zeros((0, 4)), 0.0))


def test_maps_agree_by_their_correlation():
    first = np.arange(16.0).reshape(4, 4)
    maps = {"one": first, "twice": 2 * first + 1, "reversed": -first, "empty": np.zeros((4, 4))}
    assert (
        flat(readings.of_agreement(maps)) == "Correlation with the map of one: twice 1.00, reversed -1.00 and empty –."
    )


def test_claims_are_counted_and_one_is_worked_through():
    claim = {"claim": "a beats b", "verdict": "holds", "share_true": 0.99, "figures": "a 0.9, b 0.8", "reason": np.nan}
    ledger = pd.DataFrame([claim, claim | {"verdict": "fails"}, claim])
    assert flat(readings.of_claims(ledger)) == "Of 3 claims, holds: 2; fails: 1."
    text = flat(readings.of_claim(ledger.to_dict("records")[0]))
    assert text == "“A beats b”: holds. It is true in 99.0% of the draws of patients. Here: a 0.9, b 0.8."


def test_scores_name_the_paper_where_it_has_a_run_alone():
    own = flat(read.of_scores(table_3(0.5, 0.7)))
    assert own == "Mine: EfficientNet-B1, transferred features has the highest macro F1, 0.700 (0.600–0.800)."
    assert "paper’s run 0.750, within" in flat(read.of_scores(table_3(0.5, 0.7, published=0.75)))
    assert "paper’s run 0.900, outside" in flat(read.of_scores(table_3(0.5, 0.7, published=0.9)))


def test_pairs_say_which_is_above_and_what_stays_open():
    text = flat(read.of_pairs(pairs(0.01)))
    assert "1 of 1 pair differs significantly." in text
    assert "0.200 in macro F1, EfficientNet-B1, transferred features above ResNet-34 on Mine" in text
    assert "The other 1 may be equal" in flat(read.of_pairs(pairs(0.2)))


def test_learned_features_are_compared_with_random_ones():
    own = table_3(0.5, 0.7).assign(backbone="efficientnet_b1")
    assert flat(read.of_pretraining(own, pairs(0.01), RUNS)).endswith("Mine +0.200 (significant).")
    assert flat(read.of_pretraining(own, pairs(0.3), RUNS)).endswith("(may be chance).")
    assert read.of_pretraining(own.head(1), pairs(0.3), RUNS) == ""


def test_curves_count_the_runs_that_were_best_at_their_end():
    text = flat(read.of_curves(table_3(0.5, 0.7), {RUNS[0]: 5, RUNS[1]: 3}))
    assert text.startswith("1 of 2 runs had the lowest") and "earliest best epoch is 2, of ResNet-34" in text


def test_groups_say_whether_their_intervals_are_apart():
    columns = ["run", "dataset", "attribute", "group", "macro_auroc", "macro_auroc_low", "macro_auroc_high"]
    rows = [(RUNS[0], "mine", "sex", "F", 0.9, 0.85, 0.95), (RUNS[0], "mine", "sex", "M", 0.7, 0.6, 0.8)]
    groups = pd.DataFrame([*rows, (np.nan, "other", "view", np.nan, *[np.nan] * 3)], columns=columns)
    text = flat(read.of_groups(groups))
    assert (
        "0.200 in macro AUROC: ResNet-34 scores 0.700 for sex M and 0.900 for sex F. Their intervals do not overlap."
        in text
    )
    assert text.endswith("Other: no group has a score.")


def test_calibration_counts_models_that_err_as_chance_would():
    table = pd.DataFrame({"run": RUNS, "dataset": "mine", "ece": [0.1, 0.01], "ece_null": 0.02,
                          "ece_scaled": [0.03, 0.01], "ece_scaled_null": 0.02})  # fmt: skip
    text = flat(read.of_calibration(table))
    assert (
        "within chance for 1 of 2 models" in text and "for 1 after correction" in text and "0.030, of ResNet-34" in text
    )


def test_the_ablation_names_its_best_and_its_worst_rate():
    scores = pd.DataFrame({"rate": [0.001, 0.01, 0.1], "macro_f1": [0.6, 0.9, 0.2]})
    assert "A rate of 0.01 gives the highest" in read.of_rates(scores) and "0.1 the lowest, 0.200" in flat(
        read.of_rates(scores)
    )


EMPTY = {
    read.of_pairs: pairs(0.1), read.of_seeds: pd.DataFrame(columns=["macro_f1_most", "macro_f1_least"]),
    read.of_scores: table_3(0.5, 0.6), read.of_classes: pd.DataFrame(columns=["run", "dataset", "class", "auroc"]),
    read.of_prevalence: pd.DataFrame(columns=["macro_f1", "macro_f1_natural"]),
    read.of_against: pd.DataFrame(columns=["run", "dataset", "baseline", "better"]),
    read.of_calibration: pd.DataFrame(columns=["run", "dataset"]),
    read.of_thresholds: pd.DataFrame(columns=["run", "low"]),
    read.of_operating_points: pd.DataFrame(columns=["chosen", "asked", "sensitivity"]),
    read.of_failures: pd.DataFrame({"run": RUNS, "scans": 1, "missed": 1}),
    read.of_groups: pd.DataFrame(columns=["run", "dataset", "attribute", "group", "macro_auroc"]),
    read.of_external: pd.DataFrame(columns=["measure"]), read.of_transfer: pd.DataFrame(columns=["copies"]),
    read.of_rates: pd.DataFrame(columns=["rate", "macro_f1"]),
    readings.of_claims: pd.DataFrame(columns=["verdict"]), readings.of_errors: pd.DataFrame(columns=["confidence"]),
    readings.of_features: pd.DataFrame(columns=["run", "purity"]),
    readings.of_maps: pd.DataFrame(columns=["run", "label", "area", "correct"]),
    readings.of_randomisation: pd.DataFrame(columns=["dataset", "method", "step"]),
}  # fmt: skip


@pytest.mark.parametrize("reading", EMPTY, ids=lambda reading: f"{reading.__module__[-8:]}.{reading.__name__}")
def test_a_table_without_rows_is_read_as_that(reading):
    assert reading(EMPTY[reading].head(0)).startswith(("No", "No "))


def test_the_figures_of_articles_describe_themselves_and_take_empty_tables():
    columns = ["dataset", "name", "class", "auroc", "low", "high", "alarm"]
    probes = pd.DataFrame([("mine", "border", "sick", 0.6, 0.5, 0.7, False)], columns=columns)
    table = pd.DataFrame([[5, 3], [1, 11]], index=["sick", "well"], columns=["sick", "well"])
    ledger = pd.DataFrame({"verdict": ["holds", "fails", "holds"]})
    drawn = [
        articles.class_bars(counts(sick=40, well=5)), articles.shortcuts(probes), articles.shortcuts(probes.head(0)),
        articles.scores(table_3(0.5, 0.7)), articles.scores(table_3(0.5, 0.7).head(0)), articles.confusion(table),
        articles.verdicts(ledger), articles.verdicts(ledger.head(0)),
        articles.titled({"a": np.zeros((8, 8), np.uint8)}, np.array([[0.1, 0.1, 0.5, 0.5]])),
    ]  # fmt: skip
    assert all(figure.get_label() for figure in drawn)
    assert "sick: 60 scans" in drawn[0].get_label() and "16 of 20" in drawn[5].get_label()
    assert len(drawn[-1].axes[0].patches) == 1


def test_grey_levels_end_at_white_and_an_empty_map_is_black():
    assert articles.grey(np.array([[0.0, 1.0], [2.0, 4.0]])).tolist() == [[0, 64], [128, 255]]
    assert not articles.grey(np.zeros((2, 2))).any()
