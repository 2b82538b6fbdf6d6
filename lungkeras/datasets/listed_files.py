"""Where the scans lie that a table names: by path, by file name, or by name without suffix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DEEPEST = 8  # folders that a table may name above those that are there


class FileIndex:
    """The files below a source (lungkeras.datasets.folders.file_paths), by all that a table may call them.

    A link that leads nowhere is no file, and a name that two files share names neither.
    """

    def __init__(self, files: Mapping[str, object]):
        there = [path for path, real in files.items() if real is not None]
        self.paths = {path: path for path in there}
        self.below = _unique((path.partition("/")[2], path) for path in there)  # from the first folder
        self.names = _unique((path.rpartition("/")[2], path) for path in there)
        self.stems = _unique((stem(path.rpartition("/")[2]), path) for path in there)


def places(named: pd.Series, index: FileIndex) -> pd.Series:
    """The path of the file that each text names; NaN for none.

    A text names a file by its path below the source, also with more folders before it or one fewer, as of a release
    that was moved; else by the file's name, else by that without its suffix.
    """
    wanted = named.str.replace("\\", "/", regex=False).str.removeprefix("./").str.strip("/")
    found, shorter = wanted.map(index.paths), wanted
    for _ in range(DEEPEST):
        if not shorter[found.isna()].str.contains("/", regex=False).any():
            break
        shorter = shorter.str.partition("/")[2]
        found = found.fillna(shorter.map(index.paths))
    names = wanted.str.rpartition("/")[2] if len(wanted) else wanted
    for asked, by in ((wanted, index.below), (names, index.names), (names.map(stem), index.stems)):
        if found.notna().all():
            break
        found = found.fillna(asked.map(by))
    return found


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
