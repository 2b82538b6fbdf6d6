"""Recognises a table of labels: which column names the scans, the patients, the labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.ages import years
from lungkeras.datasets.class_names import clear_class, distinct, slugs
from lungkeras.datasets.folders import file_paths, files_in
from lungkeras.datasets.label_tables import SUFFIXES, holds_labels, list_separator, read_table, require_column
from lungkeras.datasets.listed_files import FileIndex
from lungkeras.datasets.lists import letters_of
from lungkeras.datasets.own_description import MOST_CLASSES, Columns, Description
from lungkeras.datasets.own_labels import parts_of, plain
from lungkeras.datasets.own_names import LOST_DIGITS, paths_of
from lungkeras.datasets.recognised_folders import (
    MOSTLY,
    PATIENTS,
    SAMPLED,
    SPLIT_WORDS,
    known_from_headers,
    patients_elsewhere,
)
from lungkeras.datasets.scans.dicom_headers import header_of
from lungkeras.system.errors import SourceError
from lungkeras.system.files import glance
from lungkeras.system.text import printable

if TYPE_CHECKING:
    import pandas as pd


# Headers by which a column is found, without case, blanks and punctuation; the most likely first.
HEADINGS = {
    "patient": ("patientid", "patient", "subjectid", "subject", "patientnumber", "deidpatientid", "pid", "mrn"),
    "split": ("split", "set", "subset", "partition", "usage"),
    "view": ("view", "viewposition", "projection", "position", "appa"),
    "age": ("age", "patientage", "ageyears", "ageinyears", "ageatcxr", "ageatstudy"),
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "study": ("studyid", "studyinstanceuid", "study", "accessionnumber", "accession"),
    "image": (
        *("path", "imagepath", "filepath", "filename", "file", "imageindex", "imageid", "image", "imagename", "img"),
        *("scan", "dicomid", "dicom", "sopinstanceuid", "name", "id"),
    ),
    "labels": (
        *("findinglabels", "labels", "label", "findings", "finding", "diagnosis", "diagnoses", "classname", "class"),
        *("category", "disease", "pathology", "target"),
    ),
}


VECTOR = r"\[?\s*[01](?:\.0?)?(?:[\s,;|]+[01](?:\.0?)?)+\s*\]?"  # [1, 0, 0]: labels of classes that it does not name
QUOTED_LIST = r"""^\[.*['"]\s*,\s*['"].*\]$"""  # ['Mass', 'Edema']


@dataclass(frozen=True)
class Named:
    """The columns that a user names, by their headers; None or empty for those to be found."""

    labels: Path | None = None
    image: str | None = None
    patient: str | None = None
    label: tuple[str, ...] = ()
    labels_are: str | None = None
    view: str | None = None
    age: str | None = None
    sex: str | None = None
    split: str | None = None


def table_in(source: Path) -> Path | None:
    """The only table directly in the source; None if there is none or several."""
    found = tables_in(source)
    return found[0] if len(found) == 1 else None


def tables_in(source: Path) -> list[Path]:
    return [file for file in files_in(source) if file.suffix.lower() in set(SUFFIXES) - {".txt"}]


def of_table(
    source: Path, file: Path, title: str, named: Named, missed: list[str]
) -> tuple[Description, dict[str, str]]:
    """(description of a table of labels and its scans, where each item was found); adds to `missed`."""
    import pandas as pd

    if not file.is_file():
        raise SourceError(f"--labels {file}: expected a table of labels, found {glance(file)}: name the file")
    _require_a_table(file)
    table, files = read_table(file), file_paths(source)
    headings = list(table.columns)
    if twice := next((name for name in headings if name.endswith(".1") and name[:-2] in headings), None):
        raise SourceError(f"{file}: expected each heading once, found two columns called {printable(twice[:-2])!r}: "
                          "remove or rename one")  # fmt: skip
    for heading in (named.image, named.patient, *named.label, named.view, named.age, named.sex, named.split):
        if heading is not None:
            require_column(file, headings, heading)
    roles, index, by_header = _roles(source, file, table, files, named)
    labels, labels_are = _label_columns(file, table, named, {heading for heading in roles.values() if heading})
    columns, separator, task = _classes(file, table[table[roles["image"]] != ""], roles["image"], labels, labels_are)
    inside = file.resolve().is_relative_to(source.resolve())
    description = Description(
        title=title,
        task=task,
        classes=columns,
        clear=clear_class(columns),
        labels=file.resolve().relative_to(source.resolve()).as_posix() if inside else str(file.resolve()),
        labels_are=labels_are,
        columns=Columns(labels=labels, **roles),
        separator=separator,
        patients="column" if roles["patient"] else "none",
        splits=_split_words(table[roles["split"]]) if roles["split"] else {},
        scans="header" if by_header else "name",
    )
    paths = pd.Series([*files]) if by_header else paths_of(table[roles["image"]], index).dropna()
    description = description.model_copy(
        update={"headers": any(known_from_headers(source, paths).values())}
        | ({} if roles["patient"] else {"patients": patients_elsewhere(source, paths)})
    )
    if roles["patient"] and (lost := table[roles["patient"]].str.fullmatch(LOST_DIGITS)).any():
        missed.append(
            f"{lost.sum():,} patients whose numbers have lost digits to a spreadsheet's format, such as "
            f"{printable(table.loc[lost, roles['patient']].iloc[0])}: each of these scans stands alone"
        )
    if roles["age"]:
        ages = table[roles["age"]]
        if (strange := (years(ages).isna() & (ages != "")).to_numpy(bool)).any():
            missed.append(f"{strange.sum():,} ages that are not in years, such as {printable(ages[strange].iloc[0])}")
    used = {*roles.values(), *labels}
    if unused := [printable(heading) for heading in headings if heading not in used]:
        more = f" and {len(unused) - 12} more" if unused[12:] else ""
        missed.append(f"columns that are not used: {', '.join(unused[:12])}{more}")
    return description, _where_found(description, roles)


def _require_a_table(file: Path) -> None:
    """Raises SourceError for JSON, which a reader of CSV would take for a heading."""
    try:
        with file.open("rb") as opened:
            start = opened.read(200).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return  # its reason is given when it is read
    if re.match(rb'\{\s*["}]|\[\s*[\[{]', start):
        raise SourceError(f"{file}: expected a table of labels (CSV, TSV, xlsx, parquet), found JSON: save it as CSV")


def _roles(
    source: Path, file: Path, table: pd.DataFrame, files: Mapping[str, object], named: Named
) -> tuple[dict[str, str], FileIndex, bool]:
    """({role: column, or ""}, the files by name, whether scans go by their UID). Raises SourceError."""
    headings = list(table.columns)
    roles = {role: getattr(named, role) or _by_heading(headings, role) for role in ("patient", "view", "age", "sex")}
    roles |= {"study": _by_heading(headings, "study"), "split": named.split or _split_column(table)}
    index, by_header, others = FileIndex(files), False, {*filter(None, roles.values())}
    roles["image"], hits = _image_column(table, index, named.image, others)
    if not hits and (uids := _by_uid(source, files)):
        roles["image"], hits = _image_column(table, FileIndex(uids), named.image, others)
        by_header = hits > 0
    if roles["image"] is None:
        raise SourceError(
            f"{file}: expected a column that names the scans in {source}, found "
            f"{', '.join(map(printable, headings[:20]))}: name it by --image COLUMN"
        )
    image = roles["image"]
    doubled = {role for role, heading in roles.items() if heading is None or (role != "image" and heading == image)}
    return {role: "" if role in doubled else heading for role, heading in roles.items()}, index, by_header


def _classes(
    file: Path, cells: pd.DataFrame, image: str, labels: list[str], labels_are: str
) -> tuple[dict[str, str], str, str]:
    """({short name: class}, separator in cells of lists, task). Raises SourceError for too many classes."""
    separator = ""
    if labels_are == "list":
        vectors = cells[labels[0]].str.fullmatch(VECTOR)
        if vectors.any() and (vectors | (cells[labels[0]] == "")).all():
            raise SourceError(
                f"{file}: expected the names of classes in the column {printable(labels[0])!r}, found "
                f"{printable(cells.loc[vectors, labels[0]].iloc[0])[:40]!r}, which names none: write a column of 1 and "
                "0 for each class"
            )
        quoted = cells[labels[0]].str.contains(QUOTED_LIST)
        separator = "," if quoted.any() else list_separator(cells[labels[0]])
        parts = {cell: parts_of(cell, separator) for cell in cells[labels[0]].unique()}
        classes = distinct(part for found in parts.values() for part in found)
        task = _task_of_lists(cells[image], cells[labels[0]], parts)
    else:
        classes, task = labels, _task_of_columns(cells[labels])
    if len(classes) > MOST_CLASSES:
        raise SourceError(
            f"{file}: expected at most {MOST_CLASSES} classes, found {len(classes):,} different texts in the column "
            f"{printable(labels[0])!r}: name the column of labels by --label"
        )
    columns = slugs(classes)
    if labels_are == "columns" and len(labels) == 1 and task == "multiclass":
        columns |= slugs([f"no {labels[0]}"], columns)
    return columns, separator, task


def _where_found(description: Description, roles: Mapping[str, str]) -> dict[str, str]:
    """{item: where it was found}, in words."""
    how = {role: f"the column {printable(heading)!r}" for role, heading in roles.items() if heading}
    how["patients"] = how.pop("patient", PATIENTS[description.patients])
    labels, separator = description.columns.labels, description.separator
    several = f", several in a cell by {separator!r}" if separator else ""
    how["classes"] = (
        f"{len(labels)} columns of 1, 0, -1 or blank"
        if description.labels_are == "columns"
        else f"the column {printable(labels[0])!r}{several}"
    )
    return how


def _by_heading(headings: list[str], role: str) -> str | None:
    simple = {letters_of(heading): heading for heading in reversed(headings)}
    return next((simple[name] for name in HEADINGS[role] if name in simple), None)


def _split_column(table: pd.DataFrame) -> str | None:
    heading = _by_heading(list(table.columns), "split")
    return heading if heading is not None and _split_words(table[heading]) else None


def _split_words(column: pd.Series) -> dict[str, str]:
    """{value in the column: split}, if the column names train and one other split."""
    found = {word: SPLIT_WORDS[word] for word in column.str.casefold().unique() if word in SPLIT_WORDS}
    return found if len(set(found.values())) > 1 and "train" in found.values() else {}


def _by_uid(source: Path, files: Mapping[str, object]) -> dict[str, object]:
    """The SOPInstanceUID of each DICOM file as its name; empty if the first files have none."""
    paths = sorted(files)
    if not any(header_of(source / path)["image"] for path in paths[: SAMPLED // 10]):
        return {}
    return {header_of(source / path)["image"]: path for path in paths}


def _image_column(
    table: pd.DataFrame, index: FileIndex, named: str | None, others: set[str]
) -> tuple[str | None, float]:
    """(the column with most cells that name a file, their share); without files, the one with such a header."""
    headings = [named] if named else [heading for heading in table.columns if heading not in others]
    likely = [by for name in HEADINGS["image"] for by in headings if letters_of(by) == name]
    order = list(dict.fromkeys([*likely, *headings]))
    rows = table.iloc[:: max(1, len(table) // SAMPLED)][:SAMPLED] if len(table) > SAMPLED else table
    hits: dict[str, float] = {}
    for heading in order:
        hits[heading] = float(paths_of(rows[heading], index).notna().mean())
        if hits[heading] > MOSTLY:
            break
    order = list(hits)
    best = max(order, key=lambda heading: hits[heading], default=None)
    if best is not None and (hits[best] > 0 or named):
        return best, hits[best]
    return (likely[0] if likely else None), 0.0


def _label_columns(file: Path, table: pd.DataFrame, named: Named, used: set[str]) -> tuple[list[str], str]:
    """The columns of labels, and whether they are columns or a list."""
    free = [heading for heading in table.columns if heading not in used]
    if named.label:
        several = len(named.label) > 1
        are = named.labels_are or ("columns" if several or holds_labels(table[named.label[0]]) else "list")
        if are == "list" and len(named.label) > 1:
            raise SourceError(
                f"{file}: expected one column of lists of classes, found {len(named.label)} by --label: name one, or "
                "leave out --labels-are list"
            )
        return list(named.label), are
    listed = [heading for name in HEADINGS["labels"] for heading in free if letters_of(heading) == name]
    listed = [heading for heading in listed if (table[heading] != "").any()]
    binary = [heading for heading in free if holds_labels(table[heading])]
    texts = [heading for heading in listed if heading not in binary]
    if named.labels_are != "columns" and texts:
        return texts[:1], "list"
    if named.labels_are != "list" and binary:
        # A single column called label with 1 or 0 names two classes.
        alone = len(binary) == 1 and binary[0] in listed
        return binary, "list" if alone and (table[binary[0]] != "-1").all() else "columns"
    if named.labels_are != "columns" and listed:
        return listed[:1], "list"
    raise SourceError(
        f"{file}: expected a column of class names, or a column of 1, 0, -1 and blank for each class, found "
        f"{', '.join(map(printable, free[:20])) or 'no other column'}: name it by --label COLUMN"
    )


def _task_of_lists(images: pd.Series, cells: pd.Series, parts: Mapping[str, list[str]]) -> str:
    if any(len({plain(part) for part in found}) > 1 for found in parts.values()):
        return "multilabel"
    one = cells.map({cell: plain(found[0]) if found else None for cell, found in parts.items()})
    labelled = images[one.notna()].to_frame("image").assign(label=one).drop_duplicates()
    return "multilabel" if labelled["image"].duplicated().any() else "multiclass"


def _task_of_columns(cells: pd.DataFrame) -> str:
    from lungkeras.datasets.label_tables import label_values

    values = cells.apply(lambda column: label_values(column)[0])
    known = values.isin([0, 1]).all(axis=None)
    if values.shape[1] == 1:
        return "multiclass" if known else "multilabel"
    return "multiclass" if known and (values.sum(axis=1) == 1).all() else "multilabel"
