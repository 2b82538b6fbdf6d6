"""Finds the scans that a table names, by path, by file name, or by name without suffix: of one's own, or published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.folders import IMAGE_SUFFIXES, file_paths, no_image
from lungkeras.datasets.records import ABSENT, TEXTS, count_other_files, leave_out
from lungkeras.system.errors import SourceError
from lungkeras.system.text import printable

if TYPE_CHECKING:
    import pandas as pd

DEEPEST = 8  # folders that a table may name above the existing ones


class FileIndex:
    """The files below a source (lungkeras.datasets.folders.file_paths), by every name that a table may use.

    A broken link is not a file, and a name shared by two files is not used.
    """

    def __init__(self, files: Mapping[str, object]):
        self.paths = {path: path for path, real in files.items() if real is not None}

    @cached_property
    def below(self) -> dict[str, str]:
        """By the path from the first folder on."""
        return _unique((path.partition("/")[2], path) for path in self.paths)

    @cached_property
    def names(self) -> dict[str, str]:
        """By the name of the file."""
        return _unique((path.rpartition("/")[2], path) for path in self.paths)

    @cached_property
    def stems(self) -> dict[str, str]:
        """By the name of the file without its suffix."""
        return _unique((stem(path.rpartition("/")[2]), path) for path in self.paths)


def places(named: pd.Series, index: FileIndex) -> pd.Series:
    """The path of the file that each text names; NaN for none.

    A text names a file by its path below the source, also with extra leading folders or one fewer, as in a release that
    was moved; else by its file name, else by that without the suffix.
    """
    wanted = named.str.replace("\\", "/", regex=False).str.removeprefix("./").str.strip("/")
    found, shorter = wanted.map(index.paths), wanted
    for _ in range(DEEPEST):
        if not shorter[found.isna()].str.contains("/", regex=False).any():
            break
        shorter = shorter.str.partition("/")[2]
        found = found.fillna(shorter.map(index.paths))
    if found.notna().all():
        return found
    names = wanted.str.rpartition("/")[2]
    found = found.fillna(wanted.map(index.below)).fillna(names.map(index.names))
    return found if found.notna().all() else found.fillna(names.map(stem).map(index.stems))


def stem(name: str) -> str:
    """The name without its suffix, where that is one: ids may hold dots.

    >>> stem("00000001_000.PNG"), stem("1.2.840")
    ('00000001_000', '1.2.840')
    """
    start, dot, suffix = name.rpartition(".")
    return start if dot and suffix[:1].isalpha() else name


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """{name: path} of the names that a single path has."""
    found: dict[str, str | None] = {}
    for name, path in pairs:
        found[name] = None if name in found else path
    return {name: path for name, path in found.items() if path is not None and name}


def records_with_files(
    dataset: str,
    source: Path,
    entries: pd.DataFrame,
    choose: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    *,
    lists: Iterable[Path],
    parts: int = 1,
    others: Callable[[list[str]], str] | None = None,
    require_files: bool = True,
) -> pd.DataFrame:
    """The entries of a collection's lists that `choose` keeps and whose files exist, with the flow.

    `entries` have path, the published path, and scan, the last `parts` of that path, with or without its suffix. A file
    is found at its published path, else anywhere below the source, also with another suffix. `choose` leaves out what
    the study does not use. Files that are not listed are counted; `others` gives the reason from their paths. Without
    `require_files` no file is searched for.

    Raises SourceError if none of the listed files exists.
    """
    entries.attrs["flow"] = [["found", len(entries)]]
    if not require_files:
        return choose(entries) if choose else entries
    files, lists = file_paths(source), [file.relative_to(source).as_posix() for file in lists]
    ends = {path: "/".join(path.rsplit("/", parts)[-parts:]) for path in files}
    entries["path"] = _paths(entries, files, ends)
    _require_a_file(dataset, source, entries, files, lists)
    listed, names = [*lists, *entries["path"].dropna()], set(entries["scan"])
    listed += [path for path, real in files.items() if real is None and ends[path] in names]
    records = choose(entries) if choose else entries
    records = leave_out(records, records["path"].isna(), ABSENT, kind="absent")
    # Two rows of one scan are caught by the check of the records.
    if (again := records["path"].map(files).duplicated() & ~records["scan"].duplicated()).any():
        records = leave_out(records, again, "a second name of another scan's file")
    return count_other_files(records, source, listed, others or _without_a_row, files=files)


def _paths(entries: pd.DataFrame, files: Mapping[str, object], ends: Mapping[str, str]) -> pd.Series:
    """The path of each scan: as published, else by its name, else by its name with another suffix; NaN if absent."""
    there = {path: end for path, end in ends.items() if files[path] is not None}
    first = {end: path for path, end in reversed(there.items())}
    paths = entries["path"].where(entries["path"].isin(there)).fillna(entries["scan"].map(first))
    stems = entries.loc[paths.isna(), "scan"].map(stem)
    wanted = set(stems)
    images = {path: end for path, end in there.items() if wanted and end.lower().endswith(IMAGE_SUFFIXES)}
    by_stem = {stem(end): path for path, end in reversed(images.items()) if stem(end) in wanted}
    return paths.fillna(stems.map(by_stem))


def _require_a_file(
    dataset: str, source: Path, entries: pd.DataFrame, files: Mapping[str, object], lists: list[str]
) -> None:
    if entries["path"].notna().any():
        return
    images = [path for path in files if path.rpartition("/")[2] not in TEXTS and no_image(source / path) is None]
    there = f"{len(images):,} images, such as {printable(images[0])}, none of them listed" if images else "no image"
    raise SourceError(
        f"{dataset}: {' and '.join(lists)} list {len(entries):,} scans, such as "
        f"{printable(entries['scan'].iloc[0])}, and {source} holds {there}: put the images below the folder of the "
        "lists, under their published names"
    )


def _without_a_row(paths: list[str]) -> str:
    return f"no row of their own in the table (such as {printable(paths[0])})"
