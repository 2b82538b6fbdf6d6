import numpy as np
import pandas as pd
import pytest
import synthetic

from lungkeras.evaluation.paper import tables


def test_table_1_counts_classes_and_scans_of_every_split():
    records = synthetic.records("pneumonia")
    table = tables.table_1({"pneumonia": records})
    assert list(table["class"]) == [*synthetic.CLASSES["pneumonia"], "all scans"]
    assert (table["total"] == table[["train", "val", "test"]].sum(axis=1)).all()
    assert table["total"].iloc[-1] == len(records)
    assert table["total"].iloc[:-1].sum() == len(records)
    assert list(table["published"]) == [3000, 1500, 1500, 6000]


def test_table_1_counts_a_scan_with_two_findings_twice_as_labels_and_once_as_a_scan():
    records = synthetic.records("xray8")
    records.loc[0, ["mass", "effusion"]] = 1
    table = tables.table_1({"xray8": records}).set_index("class")
    assert table.drop("all scans")["total"].sum() > table.loc["all scans", "total"] == len(records)


def test_table_1_has_no_published_count_for_a_class_of_ones_own():
    records = pd.DataFrame({"split": ["train", "test"], "asthma": [1, 0], "other": [0, 1]})
    assert tables.table_1({"mine": records})["published"].isna().all()


def test_table_1_counts_under_the_policy_that_it_names():
    records = pd.DataFrame({"split": ["train", "train", "test"], "effusion": [1, -1.0, None], "mass": [0, 1, 0]})
    records.attrs["classes"] = ["effusion", "mass"]
    ones = tables.table_1({"mine": records}, "ones, mass=zeros", "zeros").set_index("class")
    assert ones.loc["effusion", ["train", "test", "total", "uncertain", "blank"]].tolist() == [2, 0, 2, 1, 1]
    assert ones.loc["mass", ["train", "uncertain"]].tolist() == [1, 0]
    assert set(ones["policy"]) == {"uncertain: ones, mass=zeros; blank: zeros"}
    assert tables.table_1({"mine": records}).set_index("class").loc["effusion", "train"] == 1
    known = tables.table_1({"mine": records.assign(effusion=[1, 0, 0])})
    assert not {"uncertain", "blank", "policy"} & set(known)


def test_table_2_sets_a_batch_of_32_beside_the_published_operations():
    counted = {"parameters": 21_797_672, "layers": 34, "multiply_accumulates": 4_785_000_000, "image_size": 256}
    row = tables.table_2({"resnet34": counted}).iloc[0]
    assert row["giga_operations"] == pytest.approx(row["published_giga_operations"], rel=0.01)
    assert row["parameters_millions"] == pytest.approx(row["published_parameters_millions"], rel=0.01)


def test_table_3_has_the_columns_that_others_read_first():
    table = tables.table_3(synthetic.results(synthetic.run_table()))
    fixed = ["dataset", "backbone", "weights", "macro_f1", "seconds_per_epoch", "best_epoch", "published_macro_f1"]
    assert list(table.columns[: len(fixed)]) == fixed
    assert len(table) == 17


def test_table_3_gives_published_numbers_to_the_twelve_runs_alone():
    table = tables.table_3(synthetic.results(synthetic.run_table()))
    ablation = table["run"].str.contains("-lr")
    assert table.loc[~ablation, "published_macro_f1"].notna().all()
    assert table.loc[ablation, "published_macro_f1"].isna().all()
    transfer = table[table["weights"] == "transfer"]
    assert (transfer["published_weights"] == "imagenet").all()
    assert transfer.set_index("dataset").loc["covid", "published_macro_f1"] == 0.978


def test_table_3_says_whether_the_interval_holds_what_the_paper_has():
    results = synthetic.results(synthetic.run_table(("covid",), ablation=False)).iloc[:3]
    results = results.assign(macro_f1=0.9, macro_f1_low=[0.85, 0.97, np.nan], macro_f1_high=[0.96, 0.99, np.nan])
    table = tables.table_3(results)
    assert list(table["interval_holds_published"]) == ["yes", "no", ""]
    assert table["difference"].tolist() == pytest.approx([0.9 - 0.959, 0.9 - 0.967, 0.9 - 0.979])


def test_a_variant_has_nothing_published_beside_it_and_a_repeat_has():
    results = synthetic.results(synthetic.run_table(("covid",), ablation=False)).iloc[[0, 0]]
    names = ["covid-resnet34-random-unweighted", "covid-resnet34-random-seed1"]
    table = tables.table_3(results.assign(run=names)).set_index("run")
    assert np.isnan(table.loc[names[0], "published_macro_f1"])
    assert table.loc[names[1], "published_macro_f1"] == 0.959


def test_the_model_beside_the_linear_one_is_that_which_validation_chose():
    results = synthetic.results(synthetic.run_table())
    results.loc[results["run"] == "covid-efficientnet_b1-random-lr0.1", "macro_f1"] = 0.999
    results.loc[results["run"] == "covid-resnet34-random", "macro_f1"] = 0.99
    results.loc[results["run"] == "covid-mobilenet_v3_large-random", "macro_f1"] = 0.995
    chosen = {"covid": "covid-resnet34-random", "xray8": "xray8-resnet34-random"}
    results.loc[results["run"] == "covid-efficientnet_b1-transfer", "macro_f1"] = np.nan
    table = tables.baselines(results, {"covid": 0.7}, chosen).set_index("dataset")
    assert table.loc["covid", "run"] == "covid-resnet34-random"
    assert table.loc["covid", "difference"] == pytest.approx(0.29)
    assert np.isnan(table.loc["xray8", "linear_macro_f1"])
    assert table.loc["covid", "published_macro_f1"] == 0.979
