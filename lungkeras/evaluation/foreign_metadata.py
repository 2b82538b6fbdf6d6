"""What a user's tables say about scans besides labels: their patients, splits, and age, sex, view and scanner."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from lungkeras.datasets.ages import OLDEST, years
from lungkeras.datasets.recognised_folders import SPLIT_WORDS
from lungkeras.evaluation.foreign_cells import LONGEST, UNKNOWN, Table, texts
from lungkeras.evaluation.foreign_columns import METADATA
from lungkeras.system.errors import TableError
from lungkeras.system.text import printable

Roles = dict[str, tuple[Table, pd.Series]]  # {role: (table, values of the scans)}
OF_PATH = re.compile(r"(?:^|/)(patient\d+|p\d{8})/")  # of CheXpert and MIMIC-CXR


def patients_of(roles: Roles, scans: np.ndarray, note: Callable[[str], None]) -> tuple[np.ndarray, bool]:
    """(the patient of each scan, whether patients are known): from a column, else from the paths of the scans."""
    if "patient" in roles:
        table, values = roles["patient"]
        known = values.notna()
        if not known.all():
            note(f"{int((~known).sum()):,} scans have no patient in {table.name}: each counts as one.")
        return np.where(known, values.astype(str), [f"scan {scan}" for scan in scans]), True
    of_path = [OF_PATH.search(str(scan)) for scan in scans]
    if all(of_path):
        note("Patients are read from the paths of the scans.")
        return np.array([match[1] for match in of_path], dtype=str), True
    note(
        "Patients are not known: every scan counts as a patient of its own, and intervals are too short where one "
        "patient has several."
    )
    return scans.astype(str), False


def split_of(roles: Roles, scans: int, note: Callable[[str], None]) -> np.ndarray:
    """The split of each scan, str (scans,): test without a column. Raises TableError."""
    if "split" not in roles:
        return np.full(scans, "test")
    table, values = roles["split"]
    words = texts(values)
    split = words.str.casefold().map(SPLIT_WORDS)
    if len(wrong := np.flatnonzero(split.isna().to_numpy())):
        column = table.columns.roles["split"]
        row = int((texts(table.frame[column]) == words.iloc[wrong[0]]).to_numpy().argmax())
        counts = words.iloc[wrong].replace("", "a blank").value_counts()
        raise TableError(
            f"{table.name}: column {printable(column)!r}, {table.row(row)}: expected train, val or test, found "
            f"{', '.join(map(repr, map(printable, counts.index[:5])))} in {len(wrong):,} rows"
        )
    if not (split == "test").any():
        raise TableError(f"{table.name}: no row has the split test: expected scans to judge")
    if left := int((split == "train").sum()):
        note(f"{left:,} scans of the split train are left out.")
    return split.to_numpy(str)


def metadata_of(roles: Roles, scans: int, note: Callable[[str], None]) -> pd.DataFrame:
    """Age in whole years, sex, view and scanner, as far as a column has two values or more."""
    known = {}
    for role in METADATA:
        if role not in roles:
            continue
        table, values = roles[role]
        words = texts(values)
        words = words.where(~words.str.lower().isin(UNKNOWN), "")
        if role == "age":
            known[role] = years(words).astype("float64")
            strange = int((known[role].isna() & (words != "")).sum())
            if strange:
                note(f"Ages of {table.name} beyond 0 to {OLDEST} years count as unknown: {strange:,}.")
        else:
            words = words.str.slice(0, LONGEST)
            if role == "sex":
                words = words.str.upper().replace({"MALE": "M", "FEMALE": "F"})
            known[role] = words.where(words != "", None).map(printable, na_action="ignore")
    kept = {role: values for role, values in known.items() if len(values.dropna().unique()) > 1}
    for role in known.keys() - kept.keys():
        note(f"The column of {role} has fewer than two values and is left out.")
    return pd.DataFrame(kept, index=pd.RangeIndex(scans))
