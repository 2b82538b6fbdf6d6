"""Which scans of another prepared dataset a run has not seen: neither it nor the runs that its weights come from.

If the two collections are related (lungkeras.datasets.kinship), fingerprints of both or a list of the same scans must
show which scans they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.kinship import called, why_kin
from lungkeras.datasets.lists import BrokenListError, separator_of
from lungkeras.datasets.registry import DATASETS
from lungkeras.datasets.split_lists import ends, look_up
from lungkeras.datasets.user_tables import as_texts, open_table
from lungkeras.evaluation.external_rules import allowed, refused, rule_of
from lungkeras.evaluation.shared_scans import Collection, chain, copies
from lungkeras.preparation.folder import Prepared
from lungkeras.study.runs import Run, read_run
from lungkeras.system.errors import RunError
from lungkeras.system.text import printable
from lungkeras.system.untrusted import json_files, table_files

NO_KIN = "not known to hold scans of each other"
UNSEARCHED = "copies were not searched for: fingerprints of both are needed"


@dataclass(frozen=True)
class Known:
    """What is known of the scans that two datasets share: their fingerprints, and a list of the same scans."""

    collections: Mapping[str, Collection] = field(default_factory=dict)
    mapping: pd.DataFrame | None = None


@dataclass
class Unseen:
    """The rows of some records still to be scored, the number left out by reason, and what was found."""

    records: pd.DataFrame
    kept: np.ndarray = field(init=False)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.kept = np.ones(len(self.records), dtype=bool)

    def leave_out(self, rows: np.ndarray, reason: str) -> None:
        """Leaves out `rows`, bool (scans,); only those not left out before are counted."""
        if new := int((self.kept & rows).sum()):
            self.counts[reason] = self.counts.get(reason, 0) + new
        self.kept &= ~rows


def unseen_scans(folder: Path | str, run: Run, prepared: Prepared, split: str, known: Known) -> Unseen:
    """The scans of a split that neither the run nor those that its weights come from have seen. Raises RunError."""
    unseen, origins = Unseen(prepared.split(split)), with_origins(folder, run)
    learned = origins or [run]
    for each in learned:
        if each.dataset == prepared.name:
            unseen.leave_out(_seen(each, unseen.records), "of patients that the run was trained or chosen on")
    for dataset in dict.fromkeys(each.dataset for each in learned):
        if dataset != prepared.name:
            _leave_out_kin(unseen, dataset, learned, prepared, known)
    if origins is None:
        unseen.notes.append("it is unknown what the weights were trained on")
    return unseen


def with_origins(folder: Path | str, run: Run) -> list[Run] | None:
    """A run and the runs that its weights come from, in the same folder; None if one of them is missing."""
    runs, beside = {run.name: run}, Path(folder).resolve().parent
    while (found := chain(run, runs)) is None:
        last = next(reversed(runs.values()))
        origin = beside / Path(str(last.params["weights"])).parent.name
        if origin.name in runs or not (origin / "metrics.json").is_file():
            return None
        runs[origin.name] = read_run(origin)
    return found


def _leave_out_kin(unseen: Unseen, dataset: str, learned: Sequence[Run], prepared: Prepared, known: Known) -> None:
    """Leaves out scans that the runs may have seen in another dataset. Raises RunError for related collections."""
    why, seen = why_kin(dataset, prepared.name), None
    unseen.notes.append(why or f"{called(dataset)} and {called(prepared.name)} are {NO_KIN}")
    if known.mapping is not None:
        seen = _mapped(unseen.records, known.mapping, [run for run in learned if run.dataset == dataset], prepared.name)
    if seen is not None:
        unseen.leave_out(seen, "by the mapping, of patients that the run was trained or chosen on")
    about = f"{learned[0].name} on {prepared.name} is no external test"
    if {dataset, prepared.name} <= set(known.collections):
        _leave_out_copies(unseen, dataset, prepared.name, known, about, unmapped=seen is None)
    elif why and seen is None:
        links = f"the mapping links no scan of {dataset}" if known.mapping is not None else "no mapping is given"
        raise RunError(
            f"{about}: {why}; {links}. Prepare both again if they have no fingerprints.npz, so that copies are found, "
            "or say which scans are the same: --mapping FILE."
        )
    elif seen is None:
        unseen.notes.append(UNSEARCHED)


def _leave_out_copies(unseen: Unseen, dataset: str, name: str, known: Known, about: str, *, unmapped: bool) -> None:
    """Leaves out the scans of the dataset `name` with a copy in `dataset`, and the other scans of their patients.

    If no mapping says which scans the two share (`unmapped`), the rules of kinship apply too: they name the scans that
    may be used, or refuse the collection. Raises RunError, which starts with `about`.
    """
    records, own, other = unseen.records, known.collections[dataset], known.collections[name]
    question = other.records["scan"].isin(records["scan"]).to_numpy()
    rule = rule_of(dataset, name, known.collections) if unmapped else None
    if rule and rule.why:
        if len(rule.classes) < 2:
            raise RunError(f"{about}: {rule.why}, which leaves one class. Two are needed.")
        may = allowed(rule, other)
        unseen.leave_out(~records["scan"].isin(other.records.loc[may, "scan"]).to_numpy(), rule.why)
        question = question & may
    copied = copies(own, other, question)
    if unmapped and (reason := refused(dataset, name, question, copied)):
        raise RunError(f"{about}: {reason}. Say which scans are the same: --mapping FILE.")
    scans = records["scan"].isin(other.records.loc[copied, "scan"])
    unseen.notes.append(f"{scans.sum():,} of {question.sum():,} scans are copies and left out")
    unseen.leave_out(scans.to_numpy(), f"copies of scans of {called(dataset)}")
    if "patient" in records:
        patients = set(records.loc[scans, "patient"])
        unseen.leave_out(records["patient"].isin(patients).to_numpy(), "further scans of the patients of copies")


def _mapped(records: pd.DataFrame, mapping: pd.DataFrame, learned: Sequence[Run], name: str) -> np.ndarray | None:
    """Which scans are of patients that these runs of one dataset were trained or selected on: bool (scans,).

    Columns are recognised by their contents. None if no column holds scans of the runs' dataset; RunError if none holds
    scans of the other.
    """
    theirs, rows = _named(mapping, records["scan"])
    if theirs is None:
        raise RunError(
            f"the mapping names no scan of {name}: expected a column of scans such as {records['scan'].iloc[0]}; found "
            f"{', '.join(map(printable, mapping.columns))}"
        )
    predictions = pd.concat([run.predictions for run in learned])
    own, scans = _named(mapping.drop(columns=theirs), predictions["scan"])
    if own is None:
        return None
    used = predictions[predictions["split"] != "test"]
    seen = scans.isin(set(used["scan"]))
    names = DATASETS[learned[0].dataset].names if learned[0].dataset in DATASETS else None
    if names and "patient" in used:
        seen |= mapping[own].map(names.of).isin(set(used["patient"]))
    return records["scan"].isin(set(rows[seen].dropna())).to_numpy()


def _named(mapping: pd.DataFrame, scans: pd.Series) -> tuple[str | None, pd.Series | None]:
    """The column that names most of these scans, and the scan named by each of its rows, None if it names none."""
    known = {ends(scan)[0]: scan for scan in scans}
    found = mapping.map(lambda name: look_up(known, name))
    column = found.notna().sum().idxmax()
    return (column, found[column]) if found[column].notna().any() else (None, None)


def _seen(run: Run, records: pd.DataFrame) -> np.ndarray:
    """Which scans are of patients in the run's own train or val split: bool (scans,)."""
    if not {"patient"} <= set(records) & set(run.predictions):
        return np.zeros(len(records), dtype=bool)
    trained_on = run.predictions.loc[run.predictions["split"] != "test", "patient"]
    return records["patient"].isin(set(trained_on)).to_numpy()


def read_mapping(file: Path | str) -> pd.DataFrame:
    """A list of which scans are the same: two or more columns of names, one row per pair.

    A CSV, or JSON with a list of objects, as the RSNA publishes its mapping to NIH ChestX-ray14. Raises RunError.
    """
    try:
        if Path(file).suffix.lower() == ".json":
            table = _names_in_json(Path(file))
        else:
            table = as_texts(open_table(Path(file), _parsed))
    except (OSError, ValueError, AttributeError, BrokenListError) as error:
        raise RunError(
            f"{file} can't be read ({error}): expected a CSV with a column of scans for each collection"
        ) from None
    if table.shape[1] < 2:
        raise RunError(f"{file}: expected a column of scans of each collection, found {', '.join(table.columns)}")
    return table


def _parsed(text: str) -> pd.DataFrame:
    separator = separator_of(text.partition("\n")[0])
    return table_files.parse_csv(text, sep=separator, dtype=str, keep_default_na=False)


def _names_in_json(file: Path) -> pd.DataFrame:
    """The columns of a list of objects that hold only text: lists of labels are not names of scans."""
    rows = json_files.read(file)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is not a list of objects")
    # Each row gets a cell for every key that any row has.
    if len(rows) * (keys := len(set().union(*rows))) > table_files.MOST_CELLS:
        raise ValueError(f"it holds {len(rows):,} rows of {keys:,} columns")
    listed = pd.DataFrame(rows)
    return listed.loc[:, listed.map(lambda cell: isinstance(cell, str)).all()].astype("str")
