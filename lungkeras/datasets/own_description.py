"""What a description of a collection of one's own may contain, checked once when it is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lungkeras.system.errors import ParamsError
from lungkeras.system.text import printable
from lungkeras.system.untrusted import yaml_files

MOST_CLASSES = 200
SLUG = r"^[a-z][a-z0-9_]{0,59}$"


class Columns(BaseModel):
    """The header of the column for each item; "" if there is no such column."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image: str = Field(min_length=1)
    patient: str = ""
    study: str = ""
    view: str = ""
    age: str = ""
    sex: str = ""
    split: str = ""
    labels: list[str] = Field(min_length=1)


class Description(BaseModel):
    """A collection: its classes, and where each scan's labels are.

    classes     {column of the records: the class as folders, cells or headings name it}
    clear       the class of scans without a finding, "" if there is none
    labels      the table of labels, as seen from the source or whole; null where each class has a folder
    labels_are  folders | columns (1, 0, -1 and blank a class) | list (the names of classes in one column)
    folders     in what order folders stand: class | split/class | class/split
    separator   what separates classes in a list
    scans       how the table names a scan: name (path or name of its file) | header (SOPInstanceUID of DICOM)
    patients    where the patient is found: column | folder (below the class) | path | header (DICOM) | none
    headers     whether DICOM headers supply patient, age, sex and view if nothing else does
    splits      {as the table or the folders say: train, val or test}; empty if no split is given
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str = Field(min_length=1, max_length=200)
    task: Literal["multiclass", "multilabel"]
    classes: dict[str, str] = Field(min_length=1, max_length=MOST_CLASSES)
    clear: str = ""
    labels: str | None = None
    labels_are: Literal["folders", "columns", "list"]
    columns: Columns | None = None
    separator: str = Field("", max_length=1)
    folders: Literal["class", "split/class", "class/split"] = "class"
    patients: Literal["column", "folder", "path", "header", "none"] = "none"
    scans: Literal["name", "header"] = "name"
    headers: bool = False
    splits: dict[str, Literal["train", "val", "test"]] = {}
    citation: str = ""
    datasheet: dict[str, str] = {}

    @field_validator("classes")
    @classmethod
    def plain_names(cls, classes: dict[str, str]) -> dict[str, str]:
        for slug, name in classes.items():
            if not re.match(SLUG, slug):
                raise ValueError(f"expected a name of small letters, digits and underscores, found {printable(slug)!r}")
            if not name or printable(name) != name:
                raise ValueError(f"expected text without control characters as the title of {slug}")
        return classes

    @model_validator(mode="after")
    def one_way(self) -> Description:
        if (self.labels is None) != (self.labels_are == "folders") or (self.labels is None) != (self.columns is None):
            raise ValueError("expected `labels` and `columns` of a table, or `labels_are: folders` and neither")
        if self.labels_are == "columns" and len(self.columns.labels) not in (len(self.classes), len(self.classes) - 1):
            raise ValueError("expected a column for each class in columns.labels, in the order of the classes")
        if self.clear and self.clear not in self.classes:
            raise ValueError(f"clear: expected one of the classes, found {printable(self.clear)!r}")
        return self


def load_description(file: Path) -> Description:
    """Raises ParamsError, naming the file and what is wrong in it."""
    data, _ = yaml_files.read_own_yaml(file, "the description of a collection")
    try:
        return Description.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise ParamsError(
            f"{file}: {key}: {first['msg'].removeprefix('Value error, ')}; correct it, or run lungkeras new again"
        ) from None
