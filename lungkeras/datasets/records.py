"""Records: the table that every dataset is read into, one row per scan.

    scan       str, unique: the file's name; where two files share it, the path
    path       str, relative to the source, with forward slashes
    patient    str; scans of one patient share it, and a split keeps them together
    <class>    one column per class in the dataset's order: int64, 0 or 1, where every scan's label is known;
               else float64 of 1, 0, -1 (uncertain) and NaN (blank: not mentioned)
    age, sex, view, follow_up, study, reader, scanner if the collection records them
    given_split  train, val or test, if a collection of one's own gives a split

`records.attrs` holds "dataset", "classes", "absent" (listed scans without a file), and "flow": [step, scans] from the
scans found, through those left out and why, to those kept; found = left out + kept. It counts every file below the
source except the label files (TEXTS); "kinds" and "examples" are by step.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.folders import file_paths, no_image
from lungkeras.system.errors import SourceError
from lungkeras.system.text import printable, utf8

if TYPE_CHECKING:
    import pandas as pd

ABSENT = "file absent"
EXTRAS = ("age", "sex", "view", "follow_up", "study", "reader", "scanner", "given_split")
# Lists that are read, or that describe what was drawn.
TEXTS = frozenset(
    {"Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv", "BBox_List_2017.csv", "test_list.txt", "train_val_list.txt"}
    | {"PHANTOM.txt", "BOXES.csv", "TRUTH.csv"}
)
MOST_NAMES = 5  # items named with their count


def tabulate(source: Path, scans: list[tuple[Path, str | None, str | None]]) -> pd.DataFrame:
    """The files found, as rows of scan, path, patient and label, in order of their paths.

    A path that is not UTF-8 is escaped, so its scan is listed, can't be opened, and ends in the quarantine. Each of
    `scans` is (file, patient, label); without a known patient, the scan is its own patient; if the label is None, the
    caller leaves the scan out.
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
    """Without broken links and files that are not images, counted by kind."""
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
    """The other rows; the number left out, and the reason, go into the flow.

    `kind` is the reason for programs: "normal" for normal scans that undersampling leaves out, "absent" for listed
    scans that no file holds, "no image" for other files, "not read" for images in folders that are not read, "unknown"
    for scans with an unknown label, else "left out".
    """
    kept = records[~unwanted]
    example = {f"left out: {reason}": printable(records.loc[unwanted, "scan"].iloc[0])} if unwanted.any() else {}
    kept.attrs["flow"] = [*records.attrs["flow"], [f"left out: {reason}", int(unwanted.sum())]]
    kept.attrs["kinds"] = records.attrs.get("kinds", {}) | {f"left out: {reason}": kind}
    kept.attrs["examples"] = records.attrs.get("examples", {}) | example
    return kept


def count_other_files(
    records: pd.DataFrame,
    source: Path,
    read: Iterable[str],
    why: Callable[[list[str]], str],
    *,
    files: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """The records, with the files below the source that were not `read` in their flow, as found and as left out.

    `why` turns the paths of the images among them into the reason. Other files are counted by kind.
    """
    files = file_paths(source) if files is None else files
    known = {_real(source, files, utf8(path)) for path in read}
    others: dict[object, str] = {}
    for path in files:
        if (real := _real(source, files, path)) not in known and path.rpartition("/")[2] not in TEXTS:
            others.setdefault(real, path)
    kinds = {path: no_image(source / path) if files[path] is not None else "broken link" for path in others.values()}
    counts = Counter(f"no image ({kind})" for kind in kinds.values() if kind)
    as_kinds = dict.fromkeys(counts, "no image")
    if images := [path for path, kind in kinds.items() if not kind]:
        reason = why(images)
        counts[reason], as_kinds[reason] = len(images), "not read"
    return _leave_out_files(records, counts, as_kinds)


def _real(source: Path, files: Mapping[str, object], path: str) -> object:
    """The identity of the real file of a path, which may be reached by a link that `files` does not follow.

    For a broken link it is the path itself.
    """
    if path in files:
        return path if files[path] is None else files[path]
    try:
        about = (source / path).stat()
    except OSError:
        return path
    return about.st_dev, about.st_ino


def _leave_out_files(records: pd.DataFrame, counts: Mapping[str, int], kinds: Mapping[str, str]) -> pd.DataFrame:
    flow = {step: scans for step, scans in records.attrs["flow"]}
    flow["found"] += sum(counts.values())
    for reason, number in sorted(counts.items()):
        flow[f"left out: {reason}"] = flow.get(f"left out: {reason}", 0) + number
    records.attrs["flow"] = [[step, scans] for step, scans in flow.items()]
    records.attrs["kinds"] = records.attrs.get("kinds", {}) | {
        f"left out: {reason}": kind for reason, kind in kinds.items()
    }
    return records


def in_folders(paths: list[str]) -> str:
    """The reason why the images at these paths are not read, with the folders in which they lie.

    >>> in_folders(["chest_xray/holdout/NORMAL/a.png", "a.png"])
    'in folders that are not read (. 1, holdout/NORMAL 1)'
    """
    return f"in folders that are not read ({named(Counter('/'.join(path.split('/')[-3:-1]) or '.' for path in paths))})"


def named(counts: Mapping[str, int]) -> str:
    """Names with their counts, the most frequent first, for a sentence; if there are many, the rest as one number.

    >>> named({"TB": 3, "Mass": 1000})
    'Mass 1,000, TB 3'
    """
    first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{printable(name)[:60]} {number:,}" for name, number in first[:MOST_NAMES]]
    rest = sum(number for _, number in first[MOST_NAMES:])
    return ", ".join([*shown, *([f"others {rest:,}"] if rest else [])])


def one_hot(records: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """The column `label` as one 0-or-1 column per class."""
    columns = {name: (records["label"] == name).astype("int64") for name in classes}
    return records.drop(columns="label").assign(**columns)


def finish(records: pd.DataFrame, dataset: str, classes: tuple[str, ...]) -> pd.DataFrame:
    """Checks the promises of the docstring above, closes the flow, and numbers the rows from 0.

    Raises SourceError if a scan is in the table twice (a list of labels that names a file twice), or if a label is not
    1, 0, -1 or NaN.
    """
    twice = records.loc[records["scan"].duplicated(), "scan"].unique()
    if len(twice):
        raise SourceError(
            f"{dataset}: expected every scan once, found {len(twice)} listed more often, such as {twice[0]}: "
            f"remove the repeated rows from the list of labels, or fetch the collection again"
        )
    records = records.assign(**{name: _labels(records, dataset, name) for name in classes})
    extras = [name for name in EXTRAS if name in records]
    flow, kinds = [*records.attrs["flow"], ["kept", len(records)]], records.attrs.get("kinds", {})
    examples = records.attrs.get("examples", {})
    records = records[["scan", "path", "patient", *classes, *extras]].reset_index(drop=True)
    absent = sum(scans for step, scans in flow if step.endswith(ABSENT))
    records.attrs = {"dataset": dataset, "classes": list(classes), "absent": absent, "flow": flow, "kinds": kinds}
    records.attrs["examples"] = examples
    return records


def _labels(records: pd.DataFrame, dataset: str, name: str) -> pd.Series:
    """The column of a class: int64 where all is known, else float64. Raises SourceError."""
    labels = records[name]
    strange = ~(labels.isin([0, 1, -1]) | labels.isna())
    if strange.any():
        scan, found = records.loc[strange, ["scan", name]].iloc[0]
        raise SourceError(
            f"{dataset}: {name}: expected labels 1, 0, -1 (uncertain) or blank, found {printable(str(found))!r} of "
            f"{scan}: correct the list of labels, or fetch the collection again"
        )
    return labels.astype("int64" if labels.isin([0, 1]).all() else "float64")
