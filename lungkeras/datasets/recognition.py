"""Looks at a folder of scans and finds out what it holds: a folder for each class, or a table of labels.

It returns a description (own_description.py), which the reader of such collections follows from then on, and sentences
on what was not understood. It asks no questions: a column that is not recognised by its header can be named.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.folders import file_paths, files_in, no_image, subfolders
from lungkeras.datasets.label_tables import SUFFIXES, list_separator, read_table, require_column, says_labels
from lungkeras.datasets.listed_files import FileIndex, places
from lungkeras.datasets.own import entry
from lungkeras.datasets.own_description import MOST_CLASSES, Columns, Description
from lungkeras.datasets.own_records import NO_CLASS, PATIENT_IN_PATH, parts_of, plain
from lungkeras.datasets.records import EXTRAS, finish
from lungkeras.datasets.scans.dicom_headers import ELEMENTS as DICOM_ELEMENTS
from lungkeras.datasets.scans.dicom_headers import header_of
from lungkeras.system.errors import SourceError
from lungkeras.system.files import glance
from lungkeras.system.text import printable

if TYPE_CHECKING:
    import pandas as pd

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "development", "tune"), "val"),
    **dict.fromkeys(("test", "testing", "te", "holdout"), "test"),
}
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
CLEAR = ("normal", "no finding", "no findings", "healthy", "negative", "clear", "none")  # the class without a finding
PATIENT_NAME = re.compile(r"(?i)(patient|subject|person|sub|pat|case|p)?[-_ ]?\d{3,}")
LONGEST_SLUG = 40
# Names with another meaning in records, tables or readers: such a class is called <name>_class.
TAKEN = {"scan", "path", "patient", "label", "labels", "split", "group", "image", "scans", "patients", "all", "class"}
TAKEN |= {"dataset", "run", "kind", "other", "found", "kept", *EXTRAS}
NO_NAMES = {"na", "nan", "nat", "null", "none", "true", "false", "inf", "infinity"}  # which tables read as no text
FEWEST_PATIENTS = 3  # per class, so that train, val and test can have one each
MOSTLY = 0.95  # of cells or files
SAMPLED = 200  # cells or files examined to find out what a column, or headers, hold
LARGEST_PATIENT = 50  # scans on average, for folders below the classes to count as patients


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


@dataclass(frozen=True)
class Understood:
    """A description, the records read with it, where each item was found, and what was not understood."""

    description: Description
    records: pd.DataFrame
    how: Mapping[str, str]
    not_understood: list[str] = field(default_factory=list)


def understand(name: str, source: Path, *, title: str, named: Named | None = None) -> Understood:
    """What a folder of scans holds, as a collection called `name`.

    Raises SourceError if neither a folder for each class nor a table of labels is found, a named column is missing, or
    fewer than two classes with three patients are left.
    """
    named, source = named or Named(), Path(source)
    if not source.is_dir():
        raise SourceError(f"--source {source}: expected a folder of scans, found {glance(source)}: name another")
    labels = named.labels
    missed: list[str] = []
    if labels is None and (found := _class_folders(source)) is not None:
        description, how = _of_folders(source, title, *found, missed)
    elif labels is None and (labels := _table_in(source)) is None:
        raise SourceError(
            f"{source}: expected a folder for each of two classes or more, or a table of labels, found "
            f"{glance(source)}: name the table by --labels FILE"
        )
    if labels is not None:
        description, how = _of_table(source, Path(labels), title, named, missed)
    description, records = _of_known_classes(name, source, description, missed)
    kinds, flow = records.attrs["kinds"], records.attrs["flow"]
    examples = records.attrs["examples"]
    for step, scans in flow:
        if scans and kinds.get(step) in ("unknown", "not read", "no image", "absent", "left out"):
            such = f", such as {examples[step]}" if examples.get(step) else ""
            missed.append(f"{scans:,} {step}{such}")
    if description.patients == "none":
        missed.append("which scans are of one patient: each counts as a patient of its own")
    return Understood(description, records, how, missed)


def slugs(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """{short name: name}: of ASCII letters, digits and underscores, each once, and none that is taken.

    >>> list(slugs(["Pleural effusion", "COVID-19", "covid 19", "1", "Ödem/Stauung", "肺炎", "View"]))
    ['pleural_effusion', 'covid_19', 'covid_19_2', 'class_1', 'odem_stauung', 'class_6', 'view_class']
    """
    found: dict[str, str] = {}
    for place, name in enumerate(names, start=1):
        letters = (sign for sign in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(sign))
        text = re.sub(r"\W+", "_", "".join(letters)).encode("ascii", "ignore").decode()
        text = re.sub(r"[^a-z0-9]+", "_", text).strip("_")[:LONGEST_SLUG].strip("_") or f"class_{place}"
        text = f"class_{text}" if text[0].isdigit() or text in NO_NAMES else text
        text = f"{text}_class" if text in TAKEN else text
        slug, number = text, 2
        while slug in found or slug in taken:
            slug, number = f"{text}_{number}", number + 1
        found[slug] = name
    return found


# Folders


def _class_folders(source: Path) -> tuple[Path, str, list[str], dict[str, str]] | None:
    """(root, order of folders, classes, splits as named) if two or more classes each have a folder of images.

    The root is the source, or the only folder in it, and so on.
    """
    root, children = source, _children(source)
    while len(children) == 1 and _children(children[0]):
        root, children = children[0], _children(children[0])
    splits = {child.name.casefold(): SPLIT_WORDS[child.name.casefold()] for child in children
              if child.name.casefold() in SPLIT_WORDS}  # fmt: skip
    parts = [child for child in children if child.name.casefold() in splits]
    classes = _classes([inner for part in parts for inner in _children(part)])
    if len(splits) > 1 and len(classes) > 1:
        return root, "split/class", classes, splits
    classes = _classes(children)
    if len(classes) < 2 or splits:
        return None
    inner = [[each.name.casefold() for each in _children(child)] for child in children if child.name in classes]
    if all(names and set(names) <= set(SPLIT_WORDS) for names in inner):
        return root, "class/split", classes, {name: SPLIT_WORDS[name] for names in inner for name in names}
    return root, "class", classes, {}


def _children(folder: Path) -> list[Path]:
    return [child for child in subfolders(folder) if child.name.casefold() not in NO_CLASS]


def _classes(folders: list[Path]) -> list[str]:
    """The names of those that hold an image; empty if there are too many, or all look like patients."""
    names = {folder.name for folder in folders}
    if len(names) > MOST_CLASSES or all(PATIENT_NAME.fullmatch(name) for name in names):
        return []
    return _distinct(folder.name for folder in folders if _holds_image(folder))


def _holds_image(folder: Path) -> bool:
    """Whether one of the first files below a folder is an image."""
    for parent, folders, files in islice(os.walk(folder, followlinks=True), SAMPLED):
        folders[:] = sorted(name for name in folders if name.casefold() not in NO_CLASS and name[0] != ".")
        if any(not no_image(f"{parent}/{name}") for name in islice(files, SAMPLED) if name[0] != "."):
            return True
    return False


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, sorted, one for each distinct class."""
    return [name for _, name in sorted({plain(name): name for name in sorted(set(names), reverse=True)}.items())]


def _of_folders(
    source: Path, title: str, root: Path, order: str, classes: list[str], splits: dict[str, str], missed: list[str]
) -> tuple[Description, dict[str, str]]:
    columns = slugs(classes)
    description = Description(
        title=title,
        task="multiclass",
        classes=columns,
        clear=_clear(columns),
        labels_are="folders",
        folders=order,
        splits=splits,
    )
    patients = _patients_of_folders(source, description)
    how = {
        "classes": f"a folder each{'' if root == source else f', in {root.relative_to(source).as_posix()}'}",
        "patients": _PATIENTS[patients],
    }
    how |= {"split": f"the folders {', '.join(splits)}"} if splits else {}
    headers = any(_headers_tell(source, _read("", source, description)["path"]).values())
    return description.model_copy(update={"patients": patients, "headers": headers}), how


_PATIENTS = {
    "column": "a column",
    "folder": "the folders below the classes",
    "path": "the names of folders or files",
    "header": "the headers of the DICOM files, hashed",
    "none": "not told",
}


def _patients_of_folders(source: Path, description: Description) -> str:
    by_folder = description.model_copy(update={"patients": "folder"})
    records = _read("", source, by_folder)
    told = records["patient"] != records["scan"]
    if len(records) and told.all():
        of_class = {slug: set(records.loc[records[slug] == 1, "patient"]) for slug in description.classes}
        shared = set.intersection(*of_class.values())
        sizes = records["patient"].value_counts()
        if not shared and sizes.mean() <= LARGEST_PATIENT and min(map(len, of_class.values())) >= FEWEST_PATIENTS:
            return "folder"
    return _patients_elsewhere(source, records["path"])


def _patients_elsewhere(source: Path, paths: pd.Series) -> str:
    """Whether names or DICOM headers identify the patient."""
    shown = paths.sample(min(len(paths), 10 * SAMPLED), random_state=0)
    if len(shown) and shown.str.extract(PATIENT_IN_PATH, expand=False).notna().mean() > MOSTLY:
        return "path"
    return "header" if _headers_tell(source, paths)["patient"] else "none"


def _headers_tell(source: Path, paths: pd.Series) -> dict[str, bool]:
    """The content of the DICOM headers of a few files."""
    told = [header_of(source / path) for path in paths.sample(min(len(paths), SAMPLED // 10), random_state=0)]
    return {name: any(each[name] for each in told) for name in DICOM_ELEMENTS.values()}


# Tables


def _table_in(source: Path) -> Path | None:
    """The only table directly in the source; None if there is none or several."""
    found = [file for file in files_in(source) if file.suffix.lower() in set(SUFFIXES) - {".txt"}]
    return found[0] if len(found) == 1 else None


def _of_table(
    source: Path, file: Path, title: str, named: Named, missed: list[str]
) -> tuple[Description, dict[str, str]]:
    import pandas as pd

    if not file.is_file():
        raise SourceError(f"--labels {file}: expected a table of labels, found {glance(file)}: name the file")
    table = read_table(file)
    headings = list(table.columns)
    for heading in (named.image, named.patient, *named.label, named.view, named.age, named.sex, named.split):
        if heading is not None:
            require_column(file, headings, heading)
    files = file_paths(source)
    roles = {role: getattr(named, role) or _by_heading(headings, role) for role in ("patient", "view", "age", "sex")}
    roles |= {"study": _by_heading(headings, "study"), "split": named.split or _split_column(table)}
    index, by_header = FileIndex(files), False
    roles["image"], hits = _image_column(table, index, named.image, {*filter(None, roles.values())})
    if not hits and (uids := _by_uid(source, files)):
        roles["image"], hits = _image_column(table, FileIndex(uids), named.image, {*filter(None, roles.values())})
        by_header = hits > 0
    if roles["image"] is None:
        raise SourceError(f"{file}: expected a column that names the scans in {source}, found "
                          f"{', '.join(map(printable, headings[:20]))}: name it by --image COLUMN")  # fmt: skip
    roles = {role: "" if heading is None or (role != "image" and heading == roles["image"]) else heading
             for role, heading in roles.items()}  # fmt: skip
    labels, labels_are = _label_columns(file, table, named, {heading for heading in roles.values() if heading})
    words = _split_words(table[roles["split"]]) if roles["split"] else {}
    separator, classes, task = "", [], "multilabel"
    cells = table[table[roles["image"]] != ""]
    if labels_are == "list":
        separator = list_separator(cells[labels[0]])
        parts = {cell: parts_of(cell, separator) for cell in cells[labels[0]].unique()}
        classes = _distinct(part for found in parts.values() for part in found)
        task = _task_of_lists(cells[roles["image"]], cells[labels[0]], parts)
    else:
        classes = labels
        task = _task_of_columns(cells[labels])
    if len(classes) > MOST_CLASSES:
        raise SourceError(f"{file}: expected at most {MOST_CLASSES} classes, found {len(classes):,} different texts in "
                          f"the column {printable(labels[0])!r}: name the column of labels by --label")  # fmt: skip
    columns = slugs(classes)
    if labels_are == "columns" and len(labels) == 1 and task == "multiclass":
        columns |= slugs([f"no {labels[0]}"], columns)
    inside = file.resolve().is_relative_to(source.resolve())
    description = Description(
        title=title,
        task=task,
        classes=columns,
        clear=_clear(columns),
        labels=file.resolve().relative_to(source.resolve()).as_posix() if inside else str(file.resolve()),
        labels_are=labels_are,
        columns=Columns(labels=labels, **roles),
        separator=separator,
        patients="column" if roles["patient"] else "none",
        splits=words,
        scans="header" if by_header else "name",
    )
    paths = pd.Series([*files]) if by_header else places(table[roles["image"]], index).dropna()
    description = description.model_copy(
        update={"headers": any(_headers_tell(source, paths).values())}
        | ({} if roles["patient"] else {"patients": _patients_elsewhere(source, paths)})
    )
    how = {role: f"the column {printable(heading)!r}" for role, heading in roles.items() if heading}
    how["patients"] = how.pop("patient", _PATIENTS[description.patients])
    how["classes"] = (
        f"{len(labels)} columns of 1, 0, -1 or blank"
        if labels_are == "columns"
        else f"the column {printable(labels[0])!r}" + (f", several in a cell by {separator!r}" if separator else "")
    )
    used = {*roles.values(), *labels}
    if unused := [printable(heading) for heading in headings if heading not in used]:
        missed.append(f"columns that are not used: {', '.join(unused[:12])}"
                      + (f" and {len(unused) - 12} more" if unused[12:] else ""))  # fmt: skip
    return description, how


def _simple(heading: str) -> str:
    return re.sub(r"[\W_]+", "", heading.casefold())


def _by_heading(headings: list[str], role: str) -> str | None:
    simple = {_simple(heading): heading for heading in reversed(headings)}
    return next((simple[name] for name in HEADINGS[role] if name in simple), None)


def _split_column(table: pd.DataFrame) -> str | None:
    heading = _by_heading(list(table.columns), "split")
    return heading if heading is not None and _split_words(table[heading]) else None


def _split_words(column: pd.Series) -> dict[str, str]:
    """{value in the column: split}, if the column names train and one other split."""
    said = {word: SPLIT_WORDS[word] for word in column.str.casefold().unique() if word in SPLIT_WORDS}
    return said if len(set(said.values())) > 1 and "train" in said.values() else {}


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
    likely = [by for name in HEADINGS["image"] for by in headings if _simple(by) == name]
    order = list(dict.fromkeys([*likely, *headings]))
    rows = table.iloc[:: max(1, len(table) // SAMPLED)][:SAMPLED] if len(table) > SAMPLED else table
    hits: dict[str, float] = {}
    for heading in order:
        hits[heading] = float(places(rows[heading], index).notna().mean())
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
        are = named.labels_are or ("columns" if all(says_labels(table[each]) for each in named.label) else "list")
        if are == "list" and len(named.label) > 1:
            raise SourceError(
                f"{file}: expected one column of lists of classes, found {len(named.label)} by --label: name one, or "
                "give --labels-are columns"
            )
        return list(named.label), are
    listed = [heading for name in HEADINGS["labels"] for heading in free if _simple(heading) == name]
    listed = [heading for heading in listed if (table[heading] != "").any()]
    binary = [heading for heading in free if says_labels(table[heading])]
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
    said = images[one.notna()].to_frame("image").assign(label=one).drop_duplicates()
    return "multilabel" if said["image"].duplicated().any() else "multiclass"


def _task_of_columns(cells: pd.DataFrame) -> str:
    from lungkeras.datasets.label_tables import label_values

    values = cells.apply(lambda column: label_values(column)[0])
    known = values.isin([0, 1]).all(axis=None)
    if values.shape[1] == 1:
        return "multiclass" if known else "multilabel"
    return "multiclass" if known and (values.sum(axis=1) == 1).all() else "multilabel"


# Both


def _clear(classes: Mapping[str, str]) -> str:
    """The class of scans without a finding, by its name; "" if there is none."""
    names = {plain(name).replace("_", " "): slug for slug, name in classes.items()}
    return next((names[word] for word in CLEAR if word in names), "")


def _read(name: str, source: Path, description: Description) -> pd.DataFrame:
    """The records by a description. Raises SourceError if there is none."""
    collection = entry(name, description)
    found = collection.find(source)
    return finish(collection.read(source, found), name, collection.classes)


def _of_known_classes(
    name: str, source: Path, description: Description, missed: list[str]
) -> tuple[Description, pd.DataFrame]:
    """(the description without classes of fewer than three patients, which can't be in every split; its records)."""
    records = _read(name, source, description)
    patients = {slug: records.loc[records[slug] == 1, "patient"].nunique() for slug in description.classes}
    rare = [slug for slug, number in patients.items() if number < FEWEST_PATIENTS]
    classes = {slug: title for slug, title in description.classes.items() if slug not in rare}
    fewest = 2 if description.task == "multiclass" else 1
    if len(classes) < fewest or (rare and description.labels_are == "columns" and len(description.columns.labels) == 1):
        counted = ", ".join(f"{printable(title)} {patients[slug]}" for slug, title in description.classes.items())
        raise SourceError(
            f"{source}: expected at least {fewest} classes that three patients or more have, for train, val and test; "
            f"found patients of {counted}: give more scans"
        )
    if not rare:
        return description, records
    shown = ", ".join(f"{printable(description.classes[slug])} ({patients[slug]})" for slug in rare[:12])
    more = f" and {len(rare) - 12} more" if rare[12:] else ""
    missed.append(f"classes of fewer than three patients, which are left out: {shown}{more}")
    update = {"classes": classes, "clear": description.clear if description.clear in classes else ""}
    if description.labels_are == "columns":
        kept = [column for slug, column in zip(description.classes, description.columns.labels, strict=True)
                if slug in classes]  # fmt: skip
        update["columns"] = description.columns.model_copy(update={"labels": kept})
    description = description.model_copy(update=update)
    return description, _read(name, source, description)
