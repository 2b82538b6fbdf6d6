"""Finds the scans that a table names: by path, by file name, or by name without suffix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

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
