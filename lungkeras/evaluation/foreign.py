"""A user's tables of probabilities, labels and metadata -> the scans to judge, checked cell by cell.

Columns are found by their names (foreign_columns.py), cells are read by foreign_cells.py, and the meaning of each
column is recorded. A label is 1, 0, -1 (uncertain) or blank; the last two are not scored. An invalid cell is an error
that names file, column and row; rows are counted from 1, below the column names.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.evaluation.foreign_cells import (
    BLANK,
    LONGEST,
    Table,
    base,
    base_stem,
    first_of,
    listed,
    more,
    numbered,
)
from lungkeras.evaluation.foreign_metadata import Roles, metadata_of, patients_of, split_of
from lungkeras.evaluation.foreign_tables import Part, TableReader
from lungkeras.system.errors import TableError
from lungkeras.system.text import printable

SUM_WITHIN = 0.01  # of 1, the sum of the probabilities of classes that exclude each other
MOSTLY = 0.99
AS_NUMBERS = "file name without its ending, its case and leading zeros"


@dataclass(frozen=True)
class Scans:
    """The scans to judge. Labels: int8 (scans, classes), 1 or 0 where `known`; {predictor: float64, same shape}."""

    scans: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    known: np.ndarray
    probabilities: dict[str, np.ndarray]
    metadata: pd.DataFrame  # those of age (years), sex, view and scanner (text, or None) that are known

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
    reader = _Joiner(labels, records)
    parts = {name: reader.predictor(table) for name, table in predictions.items()}
    return reader.joined(parts)


class _Joiner(TableReader):
    """Puts the scans of several tables together."""

    def joined(self, parts: Mapping[str, Part]) -> Foreign:
        first = next(iter(parts.values()))
        label_table, label_scans, labelled, values = self.labels_for(parts)
        classes = self.shared_classes(parts, labelled)
        rows, places, of_labels = self.shared_scans(parts, label_table, label_scans)
        values = values[:, [list(labelled).index(own) for own in classes]][of_labels[rows]]
        given = {
            name: part.probabilities[places[name][rows]][:, [list(part.classes).index(own) for own in classes]]
            for name, part in parts.items()
        }
        roles = self.roles_of(first, rows, of_labels)
        patients, patients_known = patients_of(roles, first.scans[rows], self.note)
        split, known = split_of(roles, len(rows), self.note), values >= 0
        scans = Scans(
            first.scans[rows].astype(str), patients, np.where(known, values, 0).astype(np.int8), known, given,
            metadata_of(roles, len(rows), self.note),
        )  # fmt: skip
        task = self.task_of(scans, first.table)
        test = self.unlabelled_left_out(scans.where(split == "test"))
        val = scans.where(split == "val") if (split == "val").any() else None
        if val is not None and (both := len(set(val.patients) & set(test.patients))):
            self.note(f"{both:,} patients have scans in val and in test: choices made on val are biased towards test.")
        names = tuple(printable(labelled[own]) for own in classes)
        return Foreign(
            names, task, test, val, patients_known,
            pd.DataFrame(self.understood, columns=["file", "column", "meaning"]), tuple(self.notes),
            _label_counts(names, values[split == "test"]),
        )  # fmt: skip

    def labels_for(self, parts: Mapping[str, Part]) -> tuple[Table, np.ndarray, dict[str, str], np.ndarray]:
        """(table, scans, classes {key: name}, labels) of the list of labels, else of a table of predictions."""
        first = next(iter(parts.values()))
        if self.labels is not None:
            label_scans = self.scans_of(self.labels)
            found = self.labels_in(self.labels, first.classes)
            if found is None:
                raise TableError(
                    f"{self.labels.name} has labels of none of the classes {first_of(first.classes.values())}: "
                    f"expected columns named after them, or label_<class>. Found {listed(self.labels.frame)}"
                )
            return self.labels, label_scans, *found
        holder = next((part for part in parts.values() if part.labels is not None), None)
        if holder is None:
            raise TableError(
                f"{first.table.name} has no column of labels: expected label_<class>, or y_true; or give --labels "
                f"FILE. Found {listed(first.table.frame)}"
            )
        self.check_labels_agree(parts, holder)
        return holder.table, holder.scans, holder.labelled, holder.labels

    def shared_classes(self, parts: Mapping[str, Part], labelled: Mapping[str, str]) -> list[str]:
        """The keys of the classes that have labels, and probabilities in every table."""
        classes = [own for own in labelled if all(own in part.classes for part in parts.values())]
        left_out = {name for part in parts.values() for own, name in part.classes.items() if own not in classes}
        if left_out:
            self.note(f"Not judged, because not every table has the class: {first_of(sorted(left_out))}.")
        if not classes:
            raise TableError("no class has labels and probabilities in every table: use the same class names in all")
        return classes

    def shared_scans(
        self, parts: Mapping[str, Part], label_table: Table, label_scans: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
        """(rows of the first table that all others have, the row of each of its scans in them, and in the labels)."""
        first = next(iter(parts.values()))
        rows, places = np.arange(len(first.scans)), {}
        for name, part in parts.items():
            places[name] = self.matched(first.scans, part.scans, first.table, part.table, "predictions")
            rows = rows[places[name][rows] >= 0]
        of_labels = self.matched(first.scans, label_scans, first.table, label_table, "labels")
        rows = rows[of_labels[rows] >= 0]
        if lost := len(first.scans) - len(rows):
            self.note(
                f"{lost:,} of the {len(first.scans):,} scans of {first.table.name} are missing from another table "
                "and are left out."
            )
        return rows, places, of_labels

    def check_labels_agree(self, parts: Mapping[str, Part], holder: Part) -> None:
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
                        f"{holder.labelled[own]!r} of {printable(holder.scans[here[differ[0]]])[:200]!r} differs "
                        f"from {holder.table.name}{more(len(differ) - 1, 'label')}: give one list by --labels FILE"
                    )

    def matched(self, scans: np.ndarray, others: np.ndarray, table: Table, other: Table, what: str) -> np.ndarray:
        """The row of each scan in `others`, -1 if it has none: by name, else by file name."""
        if scans is others:
            return np.arange(len(scans))
        best = np.full(len(scans), -1)
        for how, short in (
            ("", str),
            ("file name", base),
            ("file name without its ending", base_stem),
            (AS_NUMBERS, numbered),
        ):
            one, two = (pd.Index([short(name) for name in names]) for names in (scans, others))
            if not (one.is_unique and two.is_unique):
                continue
            found = two.get_indexer(one)
            if (found >= 0).sum() > (best >= 0).sum():
                best = found
                if how:
                    self.note(f"Scans of {table.name} and {other.name} are matched by {how}.")
            if (best >= 0).all():
                break
        if not (best >= 0).any():
            raise TableError(
                f"{other.name}: none of its {what} belongs to a scan of {table.name}: scans are named "
                f"{printable(others[0])[:100]!r} there and {printable(scans[0])[:100]!r} here. Use the same names"
            )
        return best

    def roles_of(self, first: Part, rows: np.ndarray, of_labels: np.ndarray) -> Roles:
        """{role: (table, values of the scans)} of patient, split and metadata: from records, labels, predictions."""
        found: Roles = {}
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
            flaw = f"do not sum to 1 in {len(off):,} of {len(sums):,} rows (scan {example})"
            if len(off) > (1 - MOSTLY) * len(sums):
                self.note(
                    f"Every scan has exactly one class, but the probabilities of {name} {flaw}: each class is judged "
                    "on its own, as a finding."
                )
                return "multilabel"
            self.note(f"The probabilities of {name} {flaw}.")
        return "multiclass"


def _label_counts(names: Sequence[str], values: np.ndarray) -> pd.DataFrame:
    counted = {"positive": 1, "negative": 0, "uncertain": -1, "blank": BLANK}
    columns = {word: (values == value).sum(axis=0) for word, value in counted.items()}
    return pd.DataFrame({"class": list(names)} | columns)
