"""View, age and sex from a published table of scans."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.ages import OLDEST
from lungkeras.datasets.records import leave_out, named
from lungkeras.system.errors import SourceError

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
