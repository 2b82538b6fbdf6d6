"""Anybody's tables of probabilities, labels and metadata -> the scans to judge, checked cell by cell.

Columns are found by their names (foreign_columns.py), cells are read by foreign_cells.py, and what was understood is
kept to be shown. A label is 1, 0, -1 (uncertain) or blank; the last two are not scored. An invalid cell is an error
that names file, column and row; rows are counted from 1, below the column names.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.evaluation.foreign_cells import (
    BLANK,
    LONGEST,
    OLDEST,
    UNKNOWN,
    Table,
    ages,
    base,
    first_of,
    label_cells,
    listed,
    may_be_labels,
    more,
    named_labels,
    probability_cells,
    stem,
    texts,
)
from lungkeras.evaluation.foreign_columns import METADATA, POSITIVE, binary, key
from lungkeras.system.errors import TableError
from lungkeras.system.text import printable

SPLITS = {"test": "test", "val": "val", "valid": "val", "validation": "val", "dev": "val", "train": "train"}
SPLITS |= {"training": "train", "testing": "test"}
OF_PATH = re.compile(r"(?:^|/)(patient\d+|p\d{8})/")  # of CheXpert and MIMIC-CXR
SUM_WITHIN = 0.01  # of 1, the sum of the probabilities of classes that exclude each other
MOSTLY = 0.99
MOST_CLASSES = 200


@dataclass(frozen=True)
class Scans:
    """The scans to judge. Labels: int8 (scans, classes), 1 or 0 where `known`; {predictor: float64, same shape}."""

    scans: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    known: np.ndarray
    probabilities: dict[str, np.ndarray]
    metadata: pd.DataFrame  # those of age (years), sex, view and scanner (text, or None) that are there

    def __len__(self) -> int:
        return len(self.scans)

    def where(self, chosen: np.ndarray) -> "Scans":
        """Some of the scans, bool or int (scans,)."""
        parts = (part[chosen] for part in (self.scans, self.patients, self.labels, self.known))
        given = {name: values[chosen] for name, values in self.probabilities.items()}
        return Scans(*parts, given, self.metadata[chosen].reset_index(drop=True))


@dataclass(frozen=True)
class Foreign:
    """What was read. `task` is multiclass or multilabel; `val` holds the scans that thresholds may be chosen on.

    `understood` has the rows of a table (file, column, meaning), `notes` what the reader should know, `label_counts`
    one row per class that counts its labels.
    """

    classes: tuple[str, ...]
    task: str
    test: Scans
    val: Scans | None
    patients_known: bool
    understood: pd.DataFrame
    notes: tuple[str, ...]
    label_counts: pd.DataFrame


def predictor_names(files: Iterable[Path]) -> list[str]:
    """Names of the predictors: file names without folder and suffix; for predictions of a run, the run's name."""
    names = []
    for file in files:
        file = Path(file)
        name = (
            file.resolve().parent.name
            if file.stem in ("predictions", "best")
            else file.stem
            if file.suffix
            else file.name
        )
        name = printable(name)[:LONGEST]
        names.append(name if name not in names else f"{name} ({sum(other.startswith(name) for other in names) + 1})")
    return names


def read_foreign(
    predictions: Mapping[str, Table], labels: Table | None = None, records: Table | None = None
) -> Foreign:
    """Joins tables of predictions, {predictor: table}, with their labels and metadata, by scan.

    Raises TableError, with file, column and row, for an invalid cell or column.
    """
    reader = _Reader(labels, records)
    parts = {name: reader.predictor(table) for name, table in predictions.items()}
    return reader.joined(parts)


@dataclass
class _Part:
    """The rows of one table of predictions."""

    scans: np.ndarray
    classes: dict[str, str]  # {key: name}
    probabilities: np.ndarray
    labels: np.ndarray | None  # int8 (scans, classes) of 1, 0, -1, BLANK; the columns of `labelled`
    labelled: dict[str, str]
    table: Table


class _Reader:
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

    def predictor(self, table: Table) -> _Part:
        scans = self.scans_of(table)
        given = table.columns.probabilities
        own_score = binary(table.columns)[1]
        if not given:
            asked = self.classes_of_labels()
            given = {name: column for name, column in table.columns.plain.items() if name in asked}
        if not given and own_score:
            given = {POSITIVE: (POSITIVE, own_score)}
        if not given:
            raise TableError(
                f"{table.name} has no column of probabilities: expected probability_<class>, <class>_prob, or y_score; "
                f"with --labels FILE also columns named as classes are there. Found {listed(table.frame)}"
            )
        if len(given) > MOST_CLASSES:
            raise TableError(f"{table.name} has {len(given)} classes; at most {MOST_CLASSES} are judged")
        for name, column in given.values():
            self.means(table, column, f"probability of {name[:LONGEST]}")
        for column, instead in table.columns.unused.items():
            self.means(table, column, f"not used: {printable(instead)[:LONGEST]} is")
        probabilities = np.stack([probability_cells(table, column) for _, column in given.values()], axis=1)
        if np.isin(probabilities, (0, 1)).all():
            self.note(f"{table.name} holds only 0 and 1: decisions, not probabilities, so that ranks are tied.")
        classes = {own: name for own, (name, _) in given.items()}
        found = self.labels_in(table, classes)
        lacking = [name for own, (name, _) in table.columns.labels.items() if own not in classes]
        if lacking:
            raise TableError(
                f"{table.name} has labels of {lacking[0]!r} but no probability of it: add the column "
                f"probability_{lacking[0]}, or remove its labels"
            )
        labelled, values = found or ({}, None)
        return _Part(scans, classes, probabilities, values, labelled, table)

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
                self.note(f"{table.name} has no column of scans: its rows are counted as scans of their own.")
                return np.array([f"row {place + 1}" for place in range(len(table.frame))], dtype=object)
            if unnamed is None:
                raise TableError(
                    f"{table.name} has no column that names the scans, by which tables are put together: expected "
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
            raise TableError(
                f"{table.name}: the scan {printable(first)[:200]!r} stands in {table.row(rows[0])} and in "
                f"{table.row(rows[1])}{more(len(names[twice].unique()) - 1, 'scan')}: expected each scan once"
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
            return dict(classes), named_labels(table, columns.listed, classes)
        return None

    def joined(self, parts: Mapping[str, _Part]) -> Foreign:
        first = next(iter(parts.values()))
        if self.labels is not None:
            label_scans = self.scans_of(self.labels)
            found = self.labels_in(self.labels, first.classes)
            if found is None:
                raise TableError(
                    f"{self.labels.name} has labels of none of the classes {first_of(first.classes.values())}: "
                    f"expected columns named as they are, or label_<class>. Found {listed(self.labels.frame)}"
                )
            labelled, values = found
        else:
            holder = next((part for part in parts.values() if part.labels is not None), None)
            if holder is None:
                raise TableError(
                    f"{first.table.name} has no column of labels: expected label_<class>, or y_true; or give --labels "
                    f"FILE. Found {listed(first.table.frame)}"
                )
            label_scans, labelled, values = holder.scans, holder.labelled, holder.labels
            self.check_labels_agree(parts, holder)
        classes = [own for own in labelled if all(own in part.classes for part in parts.values())]
        left_out = {name for part in parts.values() for own, name in part.classes.items() if own not in classes}
        if left_out:
            self.note(f"Not judged, as not every table has the class: {first_of(sorted(left_out))}.")
        if not classes:
            raise TableError("no class has labels and probabilities in every table: name the columns alike")
        names = tuple(printable(labelled[own]) for own in classes)
        values = values[:, [list(labelled).index(own) for own in classes]]

        rows = np.arange(len(first.scans))
        places = {}
        for name, part in parts.items():
            places[name] = self.matched(first.scans, part.scans, first.table, part.table, "predictions")
            rows = rows[places[name][rows] >= 0]
        of_labels = self.matched(first.scans, label_scans, first.table, self.labels or holder.table, "labels")
        rows = rows[of_labels[rows] >= 0]
        if lost := len(first.scans) - len(rows):
            self.note(f"{lost:,} of the {len(first.scans):,} scans of {first.table.name} have no row in every other "
                      "table: they are left out.")  # fmt: skip
        values = values[of_labels[rows]]
        given = {
            name: part.probabilities[places[name][rows]][:, [list(part.classes).index(own) for own in classes]]
            for name, part in parts.items()
        }
        roles = self.roles_of(first, rows, of_labels)
        patients, patients_known = self.patients_of(roles, first.scans[rows])
        split = self.split_of(roles, len(rows))
        known = values >= 0
        scans = Scans(
            first.scans[rows].astype(str), patients, np.where(known, values, 0).astype(np.int8), known, given,
            self.metadata_of(roles, len(rows)),
        )  # fmt: skip
        task = self.task_of(scans, first.table)
        test = self.unlabelled_left_out(scans.where(split == "test"))
        val = scans.where(split == "val") if (split == "val").any() else None
        if val is not None and (both := len(set(val.patients) & set(test.patients))):
            self.note(f"{both:,} patients have scans in val and in test: what is chosen on val knows test.")
        counts = _label_counts(names, values[split == "test"])
        return Foreign(
            names, task, test, val, patients_known,
            pd.DataFrame(self.understood, columns=["file", "column", "meaning"]), tuple(self.notes), counts,
        )  # fmt: skip

    def check_labels_agree(self, parts: Mapping[str, _Part], holder: _Part) -> None:
        for part in parts.values():
            if part is holder or part.labels is None:
                continue
            places = self.matched(holder.scans, part.scans, holder.table, part.table, "predictions")
            here = np.flatnonzero(places >= 0)
            for own in [own for own in holder.labelled if own in part.labelled]:
                one = holder.labels[here, list(holder.labelled).index(own)]
                other = part.labels[places[here], list(part.labelled).index(own)]
                if len(differ := np.flatnonzero(one != other)):
                    raise TableError(
                        f"{part.table.name}: {part.table.row(places[here[differ[0]]])}: the label of "
                        f"{holder.labelled[own]!r} of {printable(holder.scans[here[differ[0]]])[:200]!r} is not "
                        f"that of {holder.table.name}{more(len(differ) - 1, 'label')}: give one list by --labels FILE"
                    )

    def matched(self, scans: np.ndarray, others: np.ndarray, table: Table, other: Table, what: str) -> np.ndarray:
        """The row of each scan in `others`, -1 if it has none: by name, else by file name."""
        if scans is others:
            return np.arange(len(scans))
        best = np.full(len(scans), -1)
        for how, short in (("", str), ("file name", base), ("file name without its ending", stem)):
            one, two = (pd.Index([short(name) for name in names]) for names in (scans, others))
            if not (one.is_unique and two.is_unique):
                continue
            found = two.get_indexer(one)
            if (found >= 0).sum() > (best >= 0).sum():
                best = found
                if how:
                    self.note(f"Scans of {table.name} and {other.name} are put together by {how}.")
            if (best >= 0).all():
                break
        if not (best >= 0).any():
            raise TableError(
                f"{other.name}: none of its {what} is of a scan in {table.name}: scans are "
                f"{printable(others[0])[:100]!r} there and {printable(scans[0])[:100]!r} here. Name them alike"
            )
        return best

    def roles_of(self, first: _Part, rows: np.ndarray, of_labels: np.ndarray) -> dict[str, tuple[Table, pd.Series]]:
        """{role: (table, values of the scans)} of patient, split and metadata: from records, labels, predictions."""
        found: dict[str, tuple[Table, pd.Series]] = {}
        sources = [(first.table, rows)]
        if self.labels is not None:
            sources.insert(0, (self.labels, of_labels[rows]))
        if self.records is not None:
            places = self.matched(first.scans[rows], self.scans_of(self.records), first.table, self.records, "records")
            if lost := int((places < 0).sum()):
                self.note(f"{lost:,} scans have no row in {self.records.name}: their age, sex, view and scanner are "
                          "unknown.")  # fmt: skip
            sources.insert(0, (self.records, places))
        for table, places in sources:
            for role, column in table.columns.roles.items():
                if role != "scan" and role not in found:
                    values = table.frame[column].reindex(table.frame.index[places].where(places >= 0, -1))
                    found[role] = (table, values.reset_index(drop=True))
                    self.means(table, column, role)
        return found

    def patients_of(self, roles: Mapping, scans: np.ndarray) -> tuple[np.ndarray, bool]:
        if "patient" in roles:
            table, values = roles["patient"]
            known = values.notna()
            if not known.all():
                self.note(f"{int((~known).sum()):,} scans have no patient in {table.name}: each counts as one.")
            return np.where(known, values.astype(str), [f"scan {scan}" for scan in scans]), True
        of_path = [OF_PATH.search(str(scan)) for scan in scans]
        if all(of_path):
            self.note("Patients are read from the paths of the scans.")
            return np.array([match[1] for match in of_path], dtype=str), True
        self.note(
            "Patients are not known: every scan counts as a patient of its own, and intervals are too short where one "
            "patient has several."
        )
        return scans.astype(str), False

    def split_of(self, roles: Mapping, scans: int) -> np.ndarray:
        if "split" not in roles:
            return np.full(scans, "test")
        table, values = roles["split"]
        words = values.astype(str).str.strip().str.lower()
        split = words.map(SPLITS)
        if len(wrong := np.flatnonzero(split.isna().to_numpy())):
            raise TableError(
                f"{table.name}: column {table.columns.roles['split']!r}: expected train, val or test, found "
                f"{printable(values.iloc[wrong[0]])[:60]!r} in {len(wrong):,} rows"
            )
        if not (split == "test").any():
            raise TableError(f"{table.name}: no row has the split test: expected scans to judge")
        if left := int((split == "train").sum()):
            self.note(f"{left:,} scans of the split train are left out.")
        return split.to_numpy(str)

    def metadata_of(self, roles: Mapping, scans: int) -> pd.DataFrame:
        known = {}
        for role in METADATA:
            if role not in roles:
                continue
            table, values = roles[role]
            words = texts(values)
            words = words.where(~words.str.lower().isin(UNKNOWN), "")
            if role == "age":
                known[role] = ages(words)
                strange = int((known[role].isna() & (words != "")).sum())
                if strange:
                    self.note(f"Ages of {table.name} beyond 0 to {OLDEST} years count as unknown: {strange:,}.")
            else:
                words = words.str.slice(0, LONGEST)
                if role == "sex":
                    words = words.str.upper().replace({"MALE": "M", "FEMALE": "F"})
                known[role] = words.where(words != "", None).map(printable, na_action="ignore")
        kept = {role: values for role, values in known.items() if len(values.dropna().unique()) > 1}
        for role in known.keys() - kept.keys():
            self.note(f"The column of {role} holds less than two values: it is left out.")
        return pd.DataFrame(kept, index=pd.RangeIndex(scans))

    def unlabelled_left_out(self, test: Scans) -> Scans:
        known = test.known.any(axis=1)
        if not known.any():
            raise TableError("no scan of the split test has a label of 0 or 1: nothing can be judged")
        if lost := int((~known).sum()):
            self.note(f"{lost:,} scans have no label of 0 or 1 for any class: they are left out.")
        return test.where(known)

    def task_of(self, scans: Scans, table: Table) -> str:
        exclusive = scans.labels.shape[1] > 1 and scans.known.all() and (scans.labels.sum(axis=1) == 1).all()
        if not exclusive:
            return "multilabel"
        for name, given in scans.probabilities.items():
            sums = given.sum(axis=1)
            off = np.flatnonzero(np.abs(sums - 1) > SUM_WITHIN)
            if not len(off):
                continue
            example = f"{printable(base(scans.scans[off[0]]))[:LONGEST]!r}: {sums[off[0]]:.3f}"
            said = f"do not sum to 1 in {len(off):,} of {len(sums):,} rows (scan {example})"
            if len(off) > (1 - MOSTLY) * len(sums):
                self.note(
                    f"Every scan has exactly one class, but the probabilities of {name} {said}: each class is judged "
                    "on its own, as a finding."
                )
                return "multilabel"
            self.note(f"The probabilities of {name} {said}.")
        return "multiclass"


def _label_counts(names: Sequence[str], values: np.ndarray) -> pd.DataFrame:
    counted = {"positive": 1, "negative": 0, "uncertain": -1, "blank": BLANK}
    columns = {word: (values == value).sum(axis=0) for word, value in counted.items()}
    return pd.DataFrame({"class": list(names)} | columns)
