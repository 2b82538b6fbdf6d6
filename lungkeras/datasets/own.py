"""A collection of one's own: its description in params/, and the entry that the rest of the package reads it by.

    params/<study>/<dataset>.collection.yaml    what `lungkeras new` recognised in a folder, to be checked and corrected

A folder for each class, or a table of labels, as the description says (own_description.py). own_records.py reads the
scans.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.entry import Dataset
from lungkeras.datasets.folders import folders_under, subfolders
from lungkeras.datasets.own_labels import plain
from lungkeras.datasets.own_records import read
from lungkeras.system.errors import ParamsError
from lungkeras.system.places import project_folder
from lungkeras.system.text import printable

if TYPE_CHECKING:
    from lungkeras.datasets.own_description import Description

SUFFIX = ".collection.yaml"
IMAGE_SIZE = 224  # if a command names none


def described() -> dict[str, Path]:
    """{dataset: its description} of all collections of one's own in params/, by the names of their files."""
    files = sorted((project_folder() / "params").glob(f"*/*{SUFFIX}"), reverse=True)
    return {file.name.removesuffix(SUFFIX): file for file in files}


def own_dataset(name: str) -> Dataset | None:
    """The entry of a collection of one's own; None where params/ has no description of it. Raises ParamsError."""
    file = described().get(name)
    return None if file is None else _entry(file, file.stat().st_mtime_ns)


def own_titles() -> Mapping[str, str]:
    """{dataset or class: title} of all collections of one's own; empty for a description that can't be read."""
    return _titles(tuple((file, file.stat().st_mtime_ns) for file in described().values()))


@lru_cache(maxsize=8)
def _titles(files: tuple[tuple[Path, int], ...]) -> Mapping[str, str]:
    titles: dict[str, str] = {}
    for file, when in files:
        try:
            titles |= _entry(file, when).titles
        except ParamsError:
            continue
    return titles


@lru_cache(maxsize=32)
def _entry(file: Path, when: int) -> Dataset:
    from lungkeras.datasets.own_description import load_description

    return entry(file.name.removesuffix(SUFFIX), load_description(file))


def entry(name: str, description: Description) -> Dataset:
    """The entry of a collection by its description."""
    if description.labels is None:
        there = f"the folders {', '.join(map(printable, description.classes.values()))}, or some of them"
    else:
        there = f"{Path(description.labels).name} and the scans that it names"
    return Dataset(
        name=name,
        title=description.title,
        task=description.task,
        classes=tuple(description.classes),
        clear=description.clear,
        image_size=IMAGE_SIZE,
        handle="",
        citation=description.citation,
        layout=there,
        holds=there,
        find=partial(find, description),
        read=partial(read, description),
        patients=description.patients != "none",
        titles={name: description.title, **description.classes},
        datasheet=description.datasheet,
        described=description.model_dump_json(exclude={"title", "citation", "datasheet", "clear"}),
    )


def find(description: Description, source: Path) -> list[Path]:
    """The table of labels, or the parent folder of the class folders, as a list of one; empty if there is none."""
    if description.labels is not None:
        file = source / description.labels  # an absolute path stays as it is
        return [file] if file.is_file() else []
    wanted = {plain(name) for name in description.classes.values()}
    for folder in folders_under(source):
        places = [folder]
        if description.folders == "split/class":
            places = [child for child in subfolders(folder) if child.name.casefold() in description.splits]
        found = {plain(child.name) for place in places for child in subfolders(place)} & wanted
        if len(found) >= min(2, len(wanted)):
            return [folder]
    return []
