"""The labels of a table of one's own -> one column per class.

Class names of folders, cells and columns are compared without case, quotes and outer blanks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lungkeras.datasets.label_tables import label_values
from lungkeras.datasets.records import leave_out, named

if TYPE_CHECKING:
    import pandas as pd

    from lungkeras.datasets.own_description import Description


def plain(name: str) -> str:
    """How a class is compared: without case, quotes, brackets and outer blanks."""
    return " ".join(name.strip(" \t'\"[]").split()).casefold()


def labelled(description: Description, records: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The records with one column per class, from `cells`, the same rows of the label columns.

    Rows with labels that are not in the description are left out and counted.
    """
    if description.labels_are == "columns":
        return _of_columns(description, records, cells)
    return _of_lists(description, records, cells.iloc[:, 0])


def _of_columns(description: Description, records: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    classes, strange = list(description.classes), records["scan"].isna()
    words: Counter[str] = Counter()
    for slug, column in zip(classes, cells, strict=False):  # the other side of a single column has none
        records[slug], unknown = label_values(cells[column])
        strange |= unknown
        words.update(cells.loc[unknown, column])
    if len(classes) > cells.shape[1]:
        records[classes[-1]] = 1 - records[classes[0]]
    records = without(records, strange, f"labels that are none of 1, 0, -1 and blank ({named(words)})")
    if description.task == "multiclass":
        one = records[classes].isin([0, 1]).all(axis=1) & (records[classes].sum(axis=1) == 1)
        records = without(records, ~one, "not exactly one class")
    return records


def _of_lists(description: Description, records: pd.DataFrame, cells: pd.Series) -> pd.DataFrame:
    of_class = {plain(name): slug for slug, name in description.classes.items()}
    multiclass = description.task == "multiclass"
    stated, why = {}, {}
    for cell in cells.drop_duplicates():
        parts = [plain(part) for part in parts_of(cell, description.separator)]
        stated[cell] = {of_class[part] for part in parts if part in of_class}
        if not parts:
            why[cell] = "no label"
        elif not stated[cell] or (multiclass and len(stated[cell]) < len(set(parts))):
            why[cell] = "other classes"
        elif multiclass and len(stated[cell]) > 1:
            why[cell] = "several classes of one scan"
    for slug in description.classes:
        records[slug] = cells.map({cell: float(slug in found) for cell, found in stated.items()}).astype("float64")
    reasons = cells.map(why)
    for reason in ("no label", "other classes", "several classes of one scan"):
        unwanted = reasons.loc[records.index] == reason
        words = (
            f"{reason} ({named(cells[unwanted[unwanted].index].value_counts())})" if reason != "no label" else reason
        )
        records = without(records, unwanted, words)
    return records


def without(records: pd.DataFrame, unwanted: pd.Series, reason: str) -> pd.DataFrame:
    """The other rows; rows that are left out, if any, are counted in the flow under the reason."""
    return leave_out(records, unwanted, reason, kind="unknown") if unwanted.any() else records


def parts_of(cell: str, separator: str) -> list[str]:
    """The classes that a cell names.

    >>> parts_of("['Mass', ' Nodule']", ","), parts_of("['Mass']", "")
    (['Mass', 'Nodule'], ['Mass'])
    """
    cell = cell[1:-1] if cell[:1] + cell[-1:] == "[]" else cell
    parts = cell.split(separator) if separator else [cell]
    return [part for part in (part.strip(" \t'\"") for part in parts) if part]


def one_row_per_scan(description: Description, records: pd.DataFrame) -> pd.DataFrame:
    """Merges the rows of a scan: a list over several rows becomes their union; else differing rows are left out."""
    if not records["image"].duplicated().any():
        return records
    classes, groups = list(description.classes), records.groupby("image", sort=False)
    if description.labels_are == "list" and description.task == "multilabel":
        joined = groups[classes].transform("max")
        further = "further rows of a scan" + (
            ", whose labels are joined" if (joined != records[classes]).any(axis=None) else ""
        )
        records = records.assign(**joined)
    else:
        further = "further rows of a scan"
        lowest, highest = (records.fillna(dict.fromkeys(classes, -2)).groupby("image")[classes].transform(which)
                           for which in ("min", "max"))  # fmt: skip
        records = without(records, (lowest != highest).any(axis=1), "rows of one scan with different labels")
    return without(records, records["image"].duplicated(), further)
