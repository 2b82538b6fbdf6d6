"""Small tables: counts by class and split against a count by hand."""

import pandas as pd

from lungkeras import summaries


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
