"""One table of probabilities or labels -> its scans, classes and values, checked cell by cell.

An invalid cell is an error that names file, column and row; rows are counted from 1, below the column names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lungkeras.datasets.records import named
from lungkeras.evaluation.foreign_cells import (
    LONGEST,
    Table,
    label_cells,
    listed,
    may_be_labels,
    more,
    named_labels,
    probability_cells,
)
from lungkeras.evaluation.foreign_columns import POSITIVE, binary, key
from lungkeras.system.errors import TableError
from lungkeras.system.text import printable

MOST_CLASSES = 200


@dataclass
class Part:
    """The rows of one table of predictions."""

    scans: np.ndarray
    classes: dict[str, str]  # {key: name}
    probabilities: np.ndarray
    labels: np.ndarray | None  # int8 (scans, classes) of 1, 0, -1, BLANK; the columns of `labelled`
    labelled: dict[str, str]
    table: Table


class TableReader:
    """Reads tables one by one, and collects the meaning of each column and notes for the user."""

    def __init__(self, labels: Table | None, records: Table | None):
        self.labels, self.records = labels, records
        self.understood: list[dict] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def means(self, table: Table, column: str, meaning: str) -> None:
        row = {"file": table.name, "column": printable(column)[:LONGEST], "meaning": meaning}
        if row not in self.understood:
            self.understood.append(row)

    def predictor(self, table: Table) -> Part:
        scans = self.scans_of(table)
        given = table.columns.probabilities
        own_score = binary(table.columns)[1]
        if not given:
            asked = self.classes_of_labels()
            given = {name: column for name, column in table.columns.plain.items() if name in asked}
        if not given and own_score:
            given = {POSITIVE: (POSITIVE, own_score)}
        if not given:
            logits = next((column for column in table.frame if re.search(r"(?i)logit", column)), "")
            advice = f". If {printable(logits)[:LONGEST]!r} is a logit, give its sigmoid or softmax" if logits else ""
            raise TableError(
                f"{table.name} has no column of probabilities: expected probability_<class>, <class>_prob, or y_score; "
                f"with --labels FILE, columns named after its classes count too. Found {listed(table.frame)}{advice}"
            )
        if len(given) > MOST_CLASSES:
            raise TableError(f"{table.name} has {len(given)} classes; at most {MOST_CLASSES} are judged")
        for name, column in given.values():
            self.means(table, column, f"probability of {name[:LONGEST]}")
        for column, instead in table.columns.unused.items():
            self.means(table, column, f"not used: {printable(instead)[:LONGEST]} is")
        probabilities = np.stack([probability_cells(table, column) for _, column in given.values()], axis=1)
        if np.isin(probabilities, (0, 1)).all():
            self.note(f"{table.name} holds only 0 and 1: decisions, not probabilities, so many scans are tied in rank.")
        classes = {own: name for own, (name, _) in given.items()}
        found = self.labels_in(table, classes)
        lacking = [name for own, (name, _) in table.columns.labels.items() if own not in classes]
        if lacking:
            raise TableError(
                f"{table.name} has labels of {lacking[0]!r} but no probability of it: add the column "
                f"probability_{lacking[0]}, or remove its labels"
            )
        labelled, values = found or ({}, None)
        return Part(scans, classes, probabilities, values, labelled, table)

    def classes_of_labels(self) -> set[str]:
        """The keys of the classes in the list of labels, either columns or cell values of one column."""
        if self.labels is None:
            return set()
        columns, frame = self.labels.columns, self.labels.frame
        found = set(columns.labels) or {own for own, (_, c) in columns.plain.items() if may_be_labels(frame[c])}
        if columns.listed:
            cells = frame[columns.listed].dropna().astype(str).unique()
            found = {key(part) for cell in cells for part in (cell, *re.split(r"[|;,]", cell))}
        return found

    def scans_of(self, table: Table) -> np.ndarray:
        """The names of a table's scans; each occurs once."""
        column = table.columns.roles.get("scan")
        if column is None:
            unnamed = next((name for name in table.frame if key(name).startswith("unnamed")), None)
            if unnamed is None and self.labels is None and self.records is None:
                self.note(f"{table.name} has no column of scans: each row counts as a scan of its own.")
                return np.array([f"row {place + 1}" for place in range(len(table.frame))], dtype=object)
            if unnamed is None:
                raise TableError(
                    f"{table.name} has no column of scan names, by which tables are joined: expected "
                    f"scan, image, file, filename or path. Found {listed(table.frame)}"
                )
            column = unnamed
        self.means(table, column, "scan")
        names = table.frame[column].astype(object)
        empty = np.flatnonzero(names.isna().to_numpy())
        if len(empty):
            raise TableError(f"{table.name}: column {column!r}, {table.row(empty[0])}: expected a scan, found a blank")
        names = names.astype(str).str.strip()
        twice = names.duplicated(keep=False).to_numpy()
        if twice.any():
            first = names[twice].iloc[0]
            rows = np.flatnonzero((names == first).to_numpy())
            advice = ": if it has a row for each class, make a column of each" if twice.mean() > 0.5 else ""
            raise TableError(
                f"{table.name}: the scan {printable(first)[:200]!r} is in {table.row(rows[0])} and in "
                f"{table.row(rows[1])}{more(len(names[twice].unique()) - 1, 'scan')}: expected each scan once{advice}"
            )
        return names.to_numpy(object)

    def labels_in(self, table: Table, classes: Mapping[str, str]) -> tuple[dict[str, str], np.ndarray] | None:
        """({key: name} of the labelled classes, int8 (rows, classes)) that a table holds; None if it holds none."""
        columns = table.columns
        own = {name: column for name, (_, column) in columns.labels.items() if name in classes}
        if not own and (table is self.labels or columns.probabilities):
            own = {name: column for name, (_, column) in columns.plain.items() if name in classes}
        if not own and len(classes) == 1 and (column := binary(columns)[0]):
            own = {next(iter(classes)): column} if POSITIVE in classes or may_be_labels(table.frame[column]) else {}
        if own:
            for name, column in own.items():
                self.means(table, column, f"label of {classes[name][:LONGEST]}")
            values = np.stack([label_cells(table, column) for column in own.values()], axis=1)
            return {name: classes[name] for name in own}, values
        if columns.listed:
            self.means(table, columns.listed, "the classes of a scan")
            labels, others = named_labels(table, columns.listed, classes)
            if others:
                self.note(
                    f"Names in the column {printable(columns.listed)[:LONGEST]!r} of {table.name} that are none of the "
                    f"judged classes count as none of them: {named(others)}."
                )
            return dict(classes), labels
        return None
