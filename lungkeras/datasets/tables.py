"""View, age and sex from a table of scans, and its listed files, of which a study uses some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.ages import OLDEST
from lungkeras.datasets.folders import IMAGE_SUFFIXES, file_paths, no_image
from lungkeras.datasets.records import ABSENT, TEXTS, count_other_files, leave_out, named
from lungkeras.system.errors import SourceError
from lungkeras.system.text import printable

if TYPE_CHECKING:
    import pandas as pd

BLANK = frozenset({"", "nan", "none", "null", "n/a"})


def find_table(folder: Path, name: str) -> Path | None:
    """The table of this name in a folder, else the gzipped one; None if neither exists."""
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def known(texts: pd.Series) -> pd.Series:
    """Texts, NaN if they are empty ("", "nan", "None")."""
    return texts.where(~texts.str.casefold().isin(BLANK))


def whole_years(ages: pd.Series) -> pd.Series:
    """Ages, from texts or numbers, in whole years: int64, or Int64 if some are not from 0 to OLDEST."""
    import pandas as pd

    years = pd.to_numeric(ages, errors="coerce")
    years = years.where(years.between(0, OLDEST)).floordiv(1).astype("Int64")
    return years if years.hasnans else years.astype("int64")


def sexes(texts: pd.Series) -> pd.Series:
    """F and M of the words for them, NaN for any other."""
    return texts.str[:1].str.upper().where(texts.str.casefold().isin({"f", "m", "female", "male"}))


def records_of(
    dataset: str,
    source: Path,
    entries: pd.DataFrame,
    choose: Callable[[pd.DataFrame], pd.DataFrame],
    *,
    tables: Iterable[Path],
    parts: int = 1,
    require_files: bool = True,
) -> pd.DataFrame:
    """The entries of a table that `choose` keeps and whose files exist; other files are counted in their flow.

    `entries` have scan, the last `parts` of the file's path that name it, and path, the published path. A file is found
    anywhere below the source, also with another suffix. `choose` leaves out what the study does not use. Without
    `require_files` no file is searched for.

    Raises SourceError if none of the listed files exists.
    """
    entries.attrs["flow"] = [["found", len(entries)]]
    if not require_files:
        return choose(entries)
    files = file_paths(source)
    ends = {path: "/".join(path.rsplit("/", parts)[-parts:]) for path in files}
    entries["path"] = _paths(entries["scan"], files, ends)
    _require_a_file(dataset, source, entries, files)
    listed, names = list(entries["path"].dropna()), set(entries["scan"])
    listed += [path for path, real in files.items() if real is None and ends[path] in names]
    listed += [file.relative_to(source).as_posix() for file in tables]
    records = choose(entries)
    records = leave_out(records, records["path"].isna(), ABSENT, kind="absent")
    # Two rows of one scan are caught by the check of the records.
    if (again := records["path"].map(files).duplicated() & ~records["scan"].duplicated()).any():
        records = leave_out(records, again, "a second name of another scan's file")
    return count_other_files(records, source, listed, _without_a_row, files=files)


def _paths(scans: pd.Series, files: Mapping[str, object], ends: Mapping[str, str]) -> pd.Series:
    """The path of each scan: by its name, else by its name with another suffix; NaN if absent."""
    there: dict[str, str] = {}
    for path, end in ends.items():
        if files[path] is not None:
            there.setdefault(end, path)
    paths = scans.map(there)
    stems = scans[paths.isna()].map(_stem)
    wanted = set(stems)
    images = {end: path for end, path in there.items() if wanted and end.lower().endswith(IMAGE_SUFFIXES)}
    by_stem = {_stem(end): path for end, path in reversed(images.items()) if _stem(end) in wanted}
    return paths.fillna(stems.map(by_stem))


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _require_a_file(dataset: str, source: Path, entries: pd.DataFrame, files: Mapping[str, object]) -> None:
    if entries["path"].notna().any():
        return
    images = [path for path in files if path.rpartition("/")[2] not in TEXTS and no_image(source / path) is None]
    there = f"{len(images):,} images, such as {printable(images[0])}, none of them listed" if images else "no image"
    raise SourceError(
        f"{dataset}: the table lists {len(entries):,} scans, such as {printable(entries['scan'].iloc[0])}, and "
        f"{source} holds {there}: put the images below the folder of the table, under their published names"
    )


def _without_a_row(paths: list[str]) -> str:
    return f"no row of their own in the table (such as {printable(paths[0])})"


def leave_out_views(entries: pd.DataFrame, views: pd.Series, frontal: Iterable[str]) -> pd.DataFrame:
    """The entries whose view is one of `frontal`; the others are counted in the flow, by their view."""
    other = ~views.isin(list(frontal))
    counts = named(views[other].replace("", "not stated").value_counts()) if other.any() else ""
    return leave_out(entries, other, f"view other than {', '.join(frontal)} ({counts})") if counts else entries


def missing_table(dataset: str, folder: Path, name: str, holds: str) -> SourceError:
    """The error of a partial download that lacks a table."""
    return SourceError(
        f"{dataset}: expected {name}, {holds}, in {folder}, found no such file: fetch it with the collection, or draw "
        f"a source: lungkeras phantom {dataset} --to DIR"
    )
