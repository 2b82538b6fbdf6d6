"""The intervals of a study's tables, found by the names of their columns: for tests alone."""

from pathlib import Path

import pandas as pd


def intervals_of(table: pd.DataFrame):
    """(name of the lower column, lower ends, upper ends) of each interval of a table."""
    for column in table.columns:
        if column == "low" or column.endswith("_low"):
            yield column, table[column].astype(float), table[column[:-3] + "high"].astype(float)


def zero_width(folder: Path) -> list[str]:
    """ "table: column: rows" of all intervals in a folder's CSVs that have no width or are upside down."""
    found = []
    for file in sorted(folder.glob("*.csv")):
        table = pd.read_csv(file)
        for column, low, high in intervals_of(table):
            rows = table.index[low >= high].tolist()
            found += [f"{file.stem}: {column}: {rows}"] if rows else []
    return found
