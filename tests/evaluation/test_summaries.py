"""Small tables: counts by class and split against a count by hand."""

import pandas as pd

from lungkeras.evaluation import summaries


def test_counts_are_those_of_the_records():
    records = pd.DataFrame(
        {
            "scan": list("abcd"),
            "patient": ["1", "1", "2", "3"],
            "split": ["train", "train", "val", "test"],
            "covid": [1, 0, 0, 1],
            "viral_pneumonia": [0, 1, 0, 0],
            "normal": [0, 0, 1, 0],
        }
    )
    table = summaries.class_counts(records)
    assert table.loc["COVID-19"].to_dict() == {"train": 1, "val": 0, "test": 1, "all": 2}
    assert table.loc["scans"].to_dict() == {"train": 2, "val": 1, "test": 1, "all": 4}
    assert table.loc["patients"].to_dict() == {"train": 1, "val": 1, "test": 1, "all": 3}


def test_the_flow_is_what_the_reader_counted(phantom_records):
    table = summaries.flow(phantom_records("covid"))
    taken = table[table["step"].str.startswith("left out")]["scans"].sum()
    assert table["scans"].iloc[0] - taken == table["scans"].iloc[-1] == len(phantom_records("covid"))


def test_normals_that_were_left_out_and_those_kept_are_all_that_the_source_holds(
    phantom_source, phantom_records, tmp_path
):
    def left_out(dataset: str) -> int:
        summaries.flow(phantom_records(dataset)).to_csv(tmp_path / "flow.csv", index=False)
        return summaries.normals_left_out(tmp_path)

    folder = next(phantom_source("covid").rglob("Normal"))
    entries = pd.read_csv(next(phantom_source("xray8").rglob("Data_Entry_2017.csv")))
    files = {file.name for file in phantom_source("xray8").rglob("*.png")}
    listed = entries.loc[entries["Finding Labels"] == "No Finding", "Image Index"]
    held = {"covid": len(list(folder.rglob("images/*.png"))), "xray8": listed.isin(files).sum()}
    for dataset, normal in (("covid", "normal"), ("xray8", "no_finding")):
        assert left_out(dataset) > 0 and left_out(dataset) + phantom_records(dataset)[normal].sum() == held[dataset]
    assert left_out("pneumonia") == 0


def test_left_out_and_kept_scans_are_the_whole_list_whatever_steps_are_called(tmp_path):
    flow = pd.DataFrame(
        [["found", 100, ""], ["out", 20, "left out"], ["undersampled", 30, "normal"], ["kept", 50, ""]],
        columns=["step", "scans", "kind"],
    )
    flow.to_csv(tmp_path / "flow.csv", index=False)
    assert summaries.scans_left_out(tmp_path) == 50 and summaries.normals_left_out(tmp_path) == 30


def test_labels_that_are_not_known_are_counted_beside_those_that_are():
    records = pd.DataFrame({"split": ["train", "train", "test"], "patient": list("abc"), "effusion": [1, -1.0, None]})
    records["mass"] = [0.0, 1, -1]
    records.attrs["classes"] = ["effusion", "mass"]
    table = summaries.class_counts(records)
    assert table.loc["effusion"].to_dict() == {"train": 1, "test": 0, "all": 1, "uncertain": 1, "blank": 1}
    assert table.loc["mass"].to_dict() == {"train": 1, "test": 0, "all": 1, "uncertain": 1, "blank": 0}
    assert table.loc["scans", ["uncertain", "blank"]].tolist() == [0, 0]
