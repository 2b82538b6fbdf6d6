"""The records of a collection of one's own, by its description: class folders, or a table of labels.

A scan without a patient in a table, folder, name or header counts as its own patient.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.ages import integer_years
from lungkeras.datasets.folders import file_paths, no_image
from lungkeras.datasets.label_tables import read_table
from lungkeras.datasets.listed_files import FileIndex
from lungkeras.datasets.own_labels import labelled, one_row_per_scan, plain, without
from lungkeras.datasets.own_names import ids_of, paths_of, shared_names
from lungkeras.datasets.records import ABSENT, count_other_files, in_folders, leave_out, named
from lungkeras.system.errors import SourceError
from lungkeras.system.text import printable

if TYPE_CHECKING:
    import pandas as pd

    from lungkeras.datasets.own_description import Description

# Folders next to scans that are not classes, by a word of their names: masks, lung_masks, ground_truth.
NO_CLASS = frozenset({"mask", "masks", "segmentation", "segmentations", "annotation", "annotations"})
NO_CLASS |= {"gt", "groundtruth", "truth", "unlabeled", "unlabelled"}
MASK = r"(?i)^(.+)[-_. ](?:mask|masks|seg|segmentation)$"  # the name of a scan's mask next to it: scan_mask.png
IMAGES = frozenset({"images", "image", "img", "imgs"})  # a folder whose name only says that it holds images
# A patient's number at the start of a folder's or a file's name: patient00001/study1/..., person7_bacteria_24.jpeg
PATIENT_IN_PATH = r"(?i)(?:^|/)((?:patient|subject|person|sub|pat)[-_ ]?\d+)(?=[/_.\- ])"
FROM_HEADERS = ("patient", "age", "sex", "view", "study", "scanner")
DEEPEST = 3  # folders below the class folders whose names are looked at


def is_no_class(folder: str) -> bool:
    """Whether a folder of this name is not a class.

    >>> is_no_class("Lung_Masks"), is_no_class("Damask")
    (True, False)
    """
    return not NO_CLASS.isdisjoint(re.split(r"[\W_]+", folder.casefold()))


def read(
    description: Description, source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0
) -> pd.DataFrame:
    """Records of the collection in `found`. `seed` has no effect.

    With `require_files=False` a table is read as it is: absent scans are kept, with their expected path.
    """
    files = file_paths(source)
    if description.labels is None:
        records, listed = in_class_folders(description, source, found[0], files)
    else:
        records, listed = in_table(description, source, found[0], files, require_files)
    records = _with_patients(description, records, source, require_files)
    for name in {"sex", "view", "study", "scanner"} & {*records}:
        records[name] = records[name].mask(records[name] == "")
    if "age" in records:
        records["age"] = integer_years(records["age"].str.strip())
    if description.labels is not None and not require_files:
        return records
    listed += [file.relative_to(source).as_posix() for file in found if file.is_file() and file.is_relative_to(source)]
    why = in_folders if description.labels is None else _without_a_row
    return count_other_files(records, source, listed, why, files=files)


def _without_a_row(paths: list[str]) -> str:
    return f"no row of their own in the table of labels (such as {printable(paths[0])})"


def in_class_folders(
    description: Description, source: Path, root: Path, files: Mapping[str, object]
) -> tuple[pd.DataFrame, list[str]]:
    """The files in the class folders below `root`, and the paths of all files examined there."""
    import pandas as pd

    start = "" if root == source else root.relative_to(source).as_posix() + "/"
    paths = pd.Series([path for path in files if path.startswith(start)], dtype="str")
    folders = paths.str.slice(len(start)).str.split("/", n=DEEPEST, expand=True).reindex(columns=range(DEEPEST + 1))
    of_class = {plain(name): slug for slug, name in description.classes.items()}
    order = description.folders.split("/")
    names = {level: folders[place].where(folders[place + 1].notna(), "") for place, level in enumerate(order)}
    below = folders[len(order)].where(folders[len(order) + 1].notna(), "")  # "" where the scan lies in them itself
    records = pd.DataFrame({"path": paths, "label": names["class"].map(cache(lambda name: of_class.get(plain(name))))})
    inside = records["label"].notna() & ~below.map(is_no_class)
    if "split" in names:
        records["given_split"] = names["split"].str.casefold().map(dict(description.splits))
        inside &= records["given_split"].notna()
    if description.patients == "folder":
        records["patient"] = below.mask(below.str.casefold().isin(IMAGES), "")
    records = records[inside].sort_values("path", kind="stable")
    records = records[~_real(records["path"], files).duplicated()].reset_index(drop=True)
    records.insert(0, "scan", scan_names(records["path"]))
    listed = records["path"].tolist()
    records.attrs["flow"] = [["found", len(records)]]
    records = _leave_out_no_scans(_leave_out_masks(records), source, files)
    columns = {slug: (records["label"] == slug).astype("int64") for slug in description.classes}
    return records.drop(columns="label").assign(**columns), listed


def in_table(
    description: Description, source: Path, file: Path, files: Mapping[str, object], require_files: bool
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the table, one per scan, and the paths of the files that it names."""
    columns = description.columns
    roles = {name: column for name, column in columns.model_dump(exclude={"labels"}).items() if column}
    table = read_table(file, list(dict.fromkeys([*roles.values(), *columns.labels])))
    records = table[list(roles.values())].set_axis(list(roles), axis=1).rename(columns={"split": "given_split"})
    records.insert(0, "scan", records["image"])
    records.attrs = {"flow": [["found", len(records)]]}
    records = without(records, records["image"] == "", "rows that name no scan")
    by_uid = description.scans == "header"
    index = FileIndex(files)
    paths = records["image"].map(_by_uid(source, files)) if by_uid else paths_of(records["image"], index)
    records, listed = records.assign(path=paths), paths.dropna().tolist()
    records = labelled(description, records, table.loc[records.index, columns.labels])
    if columns.split:
        words = records["given_split"].replace("", "blank")
        records["given_split"] = words.str.casefold().map(dict(description.splits))
        unknown = records["given_split"].isna()
        records = without(records, unknown, f"rows of no known split ({named(words[unknown].value_counts())})")
    records = one_row_per_scan(description, records)
    if require_files:
        several = records["path"].isna()
        several[several] = shared_names(records.loc[several, "image"], index)
        _require_a_listed_file(file, source, records, several)
        records = without(records, several, "a name that several files have")
        records = leave_out(records, records["path"].isna(), ABSENT, kind="absent")
    records["path"] = records["path"].fillna(records["image"].str.replace("\\", "/", regex=False))
    records = without(records, _real(records["path"], files).duplicated(), "second names of another scan's file")
    records = records.assign(scan=scan_names(records["path"])).drop(columns="image")
    records = records[["scan", "path", *records.columns.drop(["scan", "path"])]]
    return (_leave_out_no_scans(records, source, files) if require_files else records), listed


def _by_uid(source: Path, files: Mapping[str, object]) -> dict[str, str]:
    """{SOPInstanceUID: path} of the DICOM files."""
    from lungkeras.datasets.scans.dicom_headers import header_of

    return {uid: path for path in files if (uid := header_of(source / path)["image"])}


def _require_a_listed_file(file: Path, source: Path, records: pd.DataFrame, several: pd.Series) -> None:
    """Raises SourceError if no name in the table matches a file."""
    if len(records) and several.all():
        raise SourceError(
            f"{file}: names {len(records):,} scans, such as {printable(records['image'].iloc[0])}, and each name is "
            f"that of several files in {source}: write their paths or suffixes into the table"
        )
    if len(records) and records["path"].isna().all():
        raise SourceError(
            f"{file}: names {len(records):,} scans, such as {printable(records['image'].iloc[0])}, and no file in "
            f"{source} has the name of one: name the folder that holds the scans, or the column by --image"
        )


def _real(paths: pd.Series, files: Mapping[str, object]) -> pd.Series:
    """The identity of the real file of each path, as links may name a file twice."""
    return paths.map({path: real or path for path, real in files.items()}).fillna(paths)


def scan_names(paths: pd.Series) -> pd.Series:
    """The name of each file, or its path where two share it."""
    names = paths.str.rpartition("/")[2] if len(paths) else paths
    return names.where(~names.duplicated(keep=False), paths).map(printable)


def _leave_out_masks(records: pd.DataFrame) -> pd.DataFrame:
    """Without files named as a scan next to them, with `mask` behind: scan_mask.png."""
    names = records["path"].str.replace(r"\.[^./]*$", "", regex=True)
    masks = names.str.extract(MASK, expand=False).isin(set(names))
    return leave_out(records, masks, "masks of other scans") if masks.any() else records


def _leave_out_no_scans(records: pd.DataFrame, source: Path, files: Mapping[str, object]) -> pd.DataFrame:
    """Without broken links and files that are not images, counted by kind."""
    kinds = {path: no_image(f"{source}/{path}") for path in records["path"] if files.get(path) is not None}
    why = records["path"].map({path: f"no image ({kind})" for path, kind in kinds.items() if kind}).astype("object")
    why = why.mask(~records["path"].isin(kinds), ABSENT)
    for reason in sorted(why.dropna().unique()):
        records = leave_out(records, why.loc[records.index] == reason, reason, kind="no image")
    return records


def _with_patients(description: Description, records: pd.DataFrame, source: Path, require_files: bool) -> pd.DataFrame:
    """The records with a patient each; an unknown patient gets the name of the scan."""
    if description.patients == "path":
        records = records.assign(patient=records["path"].str.extract(PATIENT_IN_PATH, expand=False))
    if description.headers and require_files:
        records = _with_headers(records, source)
    patients = ids_of(records["patient"]) if "patient" in records else records["scan"]
    return records.assign(patient=patients.mask(patients.isna() | (patients == ""), records["scan"]).astype("str"))


def _with_headers(records: pd.DataFrame, source: Path) -> pd.DataFrame:
    """Patients and views from the headers of DICOM files, where no table has them."""
    import pandas as pd

    from lungkeras.datasets.scans.dicom_headers import headers

    metadata = pd.DataFrame(headers(source / path for path in records["path"]), index=records.index, dtype="str")
    for name in FROM_HEADERS:
        known = records[name] if name in records else pd.Series("", records.index, dtype="str")
        known = known.mask(known.isna() | (known == ""), metadata[name])
        if (known != "").any():
            records = records.assign(**{name: known})
    return records
