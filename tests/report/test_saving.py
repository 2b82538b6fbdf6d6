"""A saved table or figure is returned, and its files hold what was given."""

import pandas as pd
from matplotlib.figure import Figure

from lungkeras.report import saving


def test_a_table_is_written_and_returned(tmp_path):
    table = pd.DataFrame({"run": ["one"], "macro_f1": [0.5]})
    assert saving.table(tmp_path, "table_3", table) is table
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "tables" / "table_3.csv"), table)


def test_a_figure_is_written_with_its_data_and_returned(tmp_path):
    drawn, data = Figure(), pd.DataFrame({"epoch": [1, 2]})
    assert saving.figure(tmp_path, 3, drawn, data) is drawn
    files = {file.name for file in (tmp_path / "figures").iterdir()}
    assert files == {"figure_03.png", "figure_03.svg", "figure_03.csv"}
    assert pd.read_csv(tmp_path / "figures" / "figure_03.csv")["epoch"].tolist() == [1, 2]
