"""A table is the same whatever its file is, for each of the readers of users' tables."""

import pandas as pd
import pytest

from lungkeras.datasets import label_tables
from lungkeras.datasets.split_lists import read_sides
from lungkeras.evaluation import foreign_cells
from lungkeras.evaluation.unseen import read_mapping

TABLE = pd.DataFrame({"image": ["a.png", "v1.0", "c.png"], "split": ["train", "test", "test"], "patient": [7, None, 9]})
WHOLE = [["a.png", "train", "7"], ["v1.0", "test", ""], ["c.png", "test", "9"]]


@pytest.mark.parametrize("suffix", [".csv", ".TSV", ".txt", ".csv.gz", ".xlsx", ".xlsm", ".parquet", ".PARQUET", ".pq"])
def test_every_reader_opens_every_kind_of_table(tmp_path, suffix):
    file = tmp_path / f"table{suffix}"
    if suffix.startswith(".xls"):
        TABLE.to_excel(file, index=False)
    elif suffix.lower() in (".parquet", ".pq"):
        TABLE.to_parquet(file)
    else:
        TABLE.to_csv(file, index=False, sep="\t" if suffix == ".TSV" else ",")
    assert label_tables.read_table(file).to_numpy().tolist() == WHOLE
    assert label_tables.read_table(file, ["patient", "image"]).to_numpy().tolist() == [
        [row[2], row[0]] for row in WHOLE
    ]
    sides = read_sides([file])
    assert sides[["scan", "side"]].to_numpy().tolist() == [row[:2] for row in WHOLE]
    assert sides["patient"].fillna("").str.removesuffix(".0").tolist() == [row[2] for row in WHOLE]
    assert foreign_cells.read_table(file).frame[["image", "split"]].to_numpy().tolist() == [row[:2] for row in WHOLE]
    assert read_mapping(file)[["image", "split"]].to_numpy().tolist() == [row[:2] for row in WHOLE]


def test_a_row_of_a_split_that_ends_early_has_no_side_and_a_last_comma_moves_no_column(tmp_path):
    (tmp_path / "split.csv").write_text("scan,split\na.png,train,\nb.png\nc.png,test,\n")
    sides = read_sides([tmp_path / "split.csv"])
    assert sides[["scan", "side"]].to_numpy().tolist() == [["a.png", "train"], ["c.png", "test"]]
    assert sides.attrs["no_side"] == 1
