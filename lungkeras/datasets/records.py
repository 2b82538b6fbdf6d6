"""Records: the table that every dataset is read into, one row a scan.

    scan       str, unique: the file's name; where two files share it, the path
    path       str, relative to the source, with forward slashes
    patient    str; scans of one patient share it, and no split parts them
    <class>    int, 0 or 1, a column a class in the dataset's order
    age, sex, view, follow_up where the collection tells them

`records.attrs` holds "dataset", "classes", "absent" (scans that a list names and no file holds), and "flow": [step,
scans] from what was found, through what was left out and why, to what was kept; found = left out + kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.folders import no_image
from lungkeras.system.errors import SourceError
from lungkeras.system.text import printable, utf8

if TYPE_CHECKING:
    import pandas as pd

ABSENT = "file absent"
EXTRAS = ("age", "sex", "view", "follow_up")


def tabulate(source: Path, scans: list[tuple[Path, str | None, str | None]]) -> pd.DataFrame:
    """The files found, as rows of scan, path, patient and label, in order of their paths.

    A path that is no UTF-8 is escaped, so that its scan is listed, can't be opened, and ends in the quarantine.
    Each of `scans` is (file, patient, label); where nothing is known of the patient, the scan stands alone; where the
    label is None, the scan is for the caller to leave out.
    """
    import pandas as pd

    once = {os.path.realpath(file): (file, patient, label) for file, patient, label in reversed(scans)}
    rows = sorted((utf8(file.relative_to(source).as_posix()), patient, label) for file, patient, label in once.values())
    records = pd.DataFrame(rows, columns=["path", "patient", "label"], dtype="str")
    names = records["path"].str.rpartition("/")[2] if rows else records["path"]
    records.insert(0, "scan", names.where(~names.duplicated(keep=False), records["path"]).map(printable))
    records["patient"] = records["patient"].fillna(records["scan"])
    records.attrs["flow"] = [["found", len(records)]]
    return _leave_out_no_images(source, records)


def _leave_out_no_images(source: Path, records: pd.DataFrame) -> pd.DataFrame:
    """Without links that lead nowhere, and without the files that are no images, counted by kind."""
    files = [source / path for path in records["path"]]
    why = {path: ABSENT for path, file in zip(records["path"], files, strict=True) if _leads_nowhere(file)}
    for path, file in zip(records["path"], files, strict=True):
        if path not in why and (kind := no_image(file)):
            why[path] = f"no image ({kind})"
    for reason in sorted(set(why.values())):
        records = leave_out(records, records["path"].map(why).eq(reason), reason, kind="no image")
    return records


def _leads_nowhere(file: Path) -> bool:
    return file.is_symlink() and not file.exists()


def leave_out(records: pd.DataFrame, unwanted: pd.Series, reason: str, kind: str = "left out") -> pd.DataFrame:
    """The other rows; how many were left out, and why, goes into the flow.

    `kind` says it for programs: "normal" for normal scans that undersampling leaves out, "absent" for listed scans that
    no file holds, "no image" for files that are none, else "left out".
    """
    kept = records[~unwanted]
    kept.attrs["flow"] = [*records.attrs["flow"], [f"left out: {reason}", int(unwanted.sum())]]
    kept.attrs["kinds"] = records.attrs.get("kinds", {}) | {f"left out: {reason}": kind}
    return kept


def one_hot(records: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """The column `label` as a 0-or-1 column a class."""
    columns = {name: (records["label"] == name).astype("int64") for name in classes}
    return records.drop(columns="label").assign(**columns)


def finish(records: pd.DataFrame, dataset: str, classes: tuple[str, ...]) -> pd.DataFrame:
    """Checks what the docstring above promises, closes the flow, and numbers the rows from 0.

    Raises SourceError where a scan stands twice in the table (a list of labels that names a file twice).
    """
    twice = records.loc[records["scan"].duplicated(), "scan"].unique()
    if len(twice):
        raise SourceError(
            f"{dataset}: expected every scan once, found {len(twice)} listed more often, such as {twice[0]}: "
            f"remove the repeated rows from the list of labels, or fetch the collection anew"
        )
    extras = [name for name in EXTRAS if name in records]
    flow, kinds = [*records.attrs["flow"], ["kept", len(records)]], records.attrs.get("kinds", {})
    records = records[["scan", "path", "patient", *classes, *extras]].reset_index(drop=True)
    absent = sum(scans for step, scans in flow if step.endswith(ABSENT))
    records.attrs = {"dataset": dataset, "classes": list(classes), "absent": absent, "flow": flow, "kinds": kinds}
    return records
