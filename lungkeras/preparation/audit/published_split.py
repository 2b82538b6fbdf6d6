"""Audit of a published split: which patients, scans and copies are on two sides, and how to repair it.

Patients are read from a column of the lists, else from the names of the scans (`Dataset.names`), else from the records
of a source. Copies are searched for if the scans are available.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lungkeras.datasets.folders import file_paths
from lungkeras.datasets.registry import known_dataset, read_records
from lungkeras.datasets.split_lists import ends, look_up, read_sides, stem
from lungkeras.preparation.duplicates import find_duplicates, join_patients
from lungkeras.preparation.prints import take_fingerprints
from lungkeras.system.errors import FolderError, SourceError
from lungkeras.system.files import write_csv
from lungkeras.system.text import printable

if TYPE_CHECKING:
    import pandas as pd

EXCLUDED = "excluded"
# Which side keeps the scans of a patient who is on two: the first whose name matches. A side of train and val together
# counts as training.
KEPT_FIRST = (r"(?!.*train).*\b(test|holdout)", r"(?!.*train).*\b(val|dev)", r"(?!.*train)", "")
RULE = "test keeps its scans before val, val before train; the other scans of whoever is on two sides are excluded"


def audit_split(
    dataset: str, files: Sequence[Path | str], source: Path | str | None = None, *, workers: int | None = None
) -> tuple[dict, pd.DataFrame]:
    """What is on two sides of a published split, and its table: scan, side, patient, group, one row per listed scan.

    Scans that share a patient, a name or a copy are in one group. The first holds

        dataset, scans       what was audited
        sides                {side: {scans, patients}}; patients is None if they are not known
        patients_from        "lists", "names", "records", or None if they are unknown
        shared_patients      {"train and test": number}, and the same of shared_scans (names) and shared_copies (pairs),
                             the latter None if no scans are there
        leaks                [{patient, scans: {side: [scan]}}], then the same with scan instead of patient
        copies               [{scan, side, other, other_side, kind, correlation}]
        leak                 whether anything is shared
        notes                what the lists can't answer

    Raises SourceError if a list can't be read, or `source` holds none of the scans.
    """
    known = known_dataset(dataset)
    table = read_sides(files)
    notes = [f"{table.attrs['no_side']:,} listed scans lie on no side."] if table.attrs["no_side"] else []
    table["key"] = _keys(table)
    if again := int(table.duplicated(["key", "side"]).sum()):
        notes.append(f"{again:,} scans are listed twice on their side.")
    table["patient"], origin = _patients(table, known, source)
    notes += _unknown_patients(dataset, table)
    if known.names and known.names.note and origin == "names":
        notes.append(known.names.note)
    pairs = None
    if source is not None:
        pairs, more = _copies(table, Path(source), workers)
        notes += more
    table["group"] = _groups(table, pairs)
    sides = list(dict.fromkeys(table["side"]))
    patients = table.dropna(subset="patient").groupby("side")["patient"].nunique()
    found = {
        "dataset": dataset,
        "scans": len(table),
        "sides": {
            side: {
                "scans": int((table["side"] == side).sum()),
                "patients": int(patients.get(side, 0)) if origin else None,
            }
            for side in sides
        },
        "patients_from": origin,
        "shared_patients": _shared(table, "patient", sides) if origin else None,
        "shared_scans": _shared(table, "key", sides),
        "shared_copies": None if pairs is None else _pairs_of_sides(pairs, sides),
        "leaks": [*_leaks(table, "patient", "patient"), *_leaks(table, "key", "scan")],
        "copies": [] if pairs is None else pairs.drop(columns=["row", "other_row"]).to_dict("records"),
    }
    return found | {"leak": bool(found["leaks"] or found["copies"]), "notes": notes}, table


def _unknown_patients(dataset: str, table: pd.DataFrame) -> list[str]:
    """A note if the patients of some or all scans are unknown."""
    unknown = table["patient"].isna()
    if unknown.all():
        return [
            f"Patients of {dataset} can't be read from the names of its scans: a patient may be on two sides unnoticed."
        ]
    if not unknown.any():
        return []
    example = printable(table.loc[unknown, "scan"].iloc[0])
    return [f"{unknown.sum():,} names give no patient, such as {example}: each counts as a patient."]


def _keys(table: pd.DataFrame) -> pd.Series:
    """The identity of a scan on two sides: its name, or its path if names repeat within a side."""
    names = table["scan"].str.replace("\\", "/", regex=False).str.rpartition("/")[2].map(stem)
    if names.groupby(table["side"]).nunique().sum() == len(table.drop_duplicates(["scan", "side"])):
        return names
    return table["scan"]


def _patients(table: pd.DataFrame, dataset, source: Path | str | None) -> tuple[pd.Series, str | None]:
    """The patient of each scan, None if unknown, and the origin of most of them."""
    patients, origin = table["patient"].astype(object), "lists"
    if patients.notna().all():
        return patients, origin
    if dataset.names:
        from_names = table["scan"].map(dataset.names.of)
        origin = "names" if from_names.notna().sum() > patients.notna().sum() else origin
        # Only one of the two: a list may use other patient names.
        patients = from_names if origin == "names" else patients
    if source is not None and patients.isna().any() and dataset.find(Path(source)):
        records = read_records(dataset.name, source, require_files=False)
        records = records[records["patient"] != records["scan"]]
        by_name = {}
        for column in ("path", "scan"):
            by_name |= dict(zip((ends(name)[0] for name in records[column]), records["patient"], strict=True))
        from_records = table["scan"].map(lambda name: look_up(by_name, name))
        if patients.isna().all():
            origin = "records"
        if origin in ("names", "records"):
            patients = patients.where(patients.notna(), from_records)
    return patients.where(patients.notna(), None), origin if patients.notna().any() else None


def _copies(table: pd.DataFrame, source: Path, workers: int | None) -> tuple[pd.DataFrame, list[str]]:
    """The pairs of copies on two sides, among the listed scans that are in a source, and notes on these."""
    places = table["scan"].map(_finder(source))
    there = np.flatnonzero(places.notna())
    if len(there) == 0:
        raise SourceError(
            f"{source} holds none of {len(table):,} listed scans, such as {printable(table['scan'].iloc[0])}: name the "
            "folder that holds them, or leave out --source to audit names alone"
        )
    once = there[~table["key"].iloc[there].duplicated()]  # the same scan on two sides is found by its name
    prints = take_fingerprints([source / places.iloc[row] for row in once], workers=workers)
    alone = table["patient"].where(table["patient"].notna(), table.index.astype(str) + " alone")
    pairs = find_duplicates(prints, [str(row) for row in once], alone.iloc[once].tolist())
    pairs = pairs.assign(row=pairs["scan"].astype(int), other_row=pairs["other"].astype(int))
    for end, row in (("scan", "row"), ("other", "other_row")):
        pairs[end] = table["scan"].to_numpy(object)[pairs[row]]
        pairs["side" if end == "scan" else "other_side"] = table["side"].to_numpy(object)[pairs[row]]
    notes = [f"{len(table) - len(there):,} listed scans are not in {source}."] if len(there) < len(table) else []
    if unread := int((~prints.read).sum()):
        notes.append(f"{unread:,} scans can't be read: no copies of them are found.")
    columns = ["scan", "side", "other", "other_side", "kind", "correlation", "row", "other_row"]
    return pairs.loc[pairs["side"] != pairs["other_side"], columns].reset_index(drop=True), notes


def _finder(source: Path):
    """A function: a scan as listed -> its path in the source, None if missing or ambiguous."""
    index: dict[str, str | None] = {}
    for path in file_paths(source):
        for end in ends(path):
            index[end] = path if index.get(end, path) == path else None

    return lambda name: look_up(index, name)


def _groups(table: pd.DataFrame, pairs: pd.DataFrame | None) -> pd.Series:
    """The group of each row: its patient, joined with those who share a scan or a copy."""
    import pandas as pd

    rows, again = table.index.astype(str), table["key"].duplicated()
    first = pd.Series(rows[~again], table.loc[~again, "key"])
    links = [pd.DataFrame({"scan": rows[again], "other": table.loc[again, "key"].map(first).to_numpy()})]
    if pairs is not None:
        links.append(pairs[["row", "other_row"]].astype(str).set_axis(["scan", "other"], axis=1))
    alone = table["patient"].where(table["patient"].notna(), rows + " alone")
    records = pd.DataFrame({"scan": rows, "patient": alone.astype(str)})
    return join_patients(records, pd.concat(links, ignore_index=True)).set_axis(table.index)


def _shared(table: pd.DataFrame, column: str, sides: list[str]) -> dict[str, int]:
    held = {side: set(table.loc[table["side"] == side, column].dropna()) for side in sides}
    return {f"{one} and {other}": len(held[one] & held[other]) for one, other in combinations(sides, 2)}


def _pairs_of_sides(pairs: pd.DataFrame, sides: list[str]) -> dict[str, int]:
    each = [frozenset(pair) for pair in zip(pairs["side"], pairs["other_side"], strict=True)]
    return {f"{one} and {other}": each.count(frozenset((one, other))) for one, other in combinations(sides, 2)}


def _leaks(table: pd.DataFrame, column: str, word: str) -> list[dict]:
    """Each value of a column that is on two sides, with its scans by side, in order of first occurrence."""
    once = table.dropna(subset=column).drop_duplicates([column, "side"])
    shared = table[table[column].isin(once.loc[once[column].duplicated(), column])]
    return [
        {word: str(who), "scans": {side: own["scan"].tolist() for side, own in rows.groupby("side", sort=False)}}
        for who, rows in shared.groupby(column, sort=False)
    ]


def repaired(table: pd.DataFrame) -> pd.Series:
    """The side of each scan in a split without leaks: as before, or `excluded`.

    If a group is on several sides, one keeps its scans: test before val, val before others, all before train
    (KEPT_FIRST); the first listed of equals.
    """
    sides = sorted(dict.fromkeys(table["side"]), key=_place)
    place = table["side"].map({side: place for place, side in enumerate(sides)})
    kept = place == place.groupby(table["group"]).transform("min")
    return table["side"].where(kept, EXCLUDED)


def _place(side: str) -> int:
    name = side.casefold().replace("_", " ")
    return next(place for place, word in enumerate(KEPT_FIRST) if re.match(word, name))


def write_repaired(file: Path | str, table: pd.DataFrame) -> dict:
    """Writes the repaired split into a new file, columns scan and split. Returns {file, rule, excluded: {side: scans}}.

    Raises FolderError if the file exists.
    """
    import pandas as pd

    require_new(file)
    sides = repaired(table)
    write_csv(file, pd.DataFrame({"scan": table["scan"], "split": sides}))
    gone = table.loc[sides == EXCLUDED, "side"].value_counts(sort=False)
    return {"file": str(file), "rule": RULE, "excluded": {side: int(scans) for side, scans in gone.items()}}


def require_new(file: Path | str) -> None:
    """Raises FolderError if a file of this name exists."""
    if Path(file).exists() or Path(file).is_symlink():
        raise FolderError(f"{file} exists already, and a split is never overwritten: name a new file")
