"""Ages as written in collections -> whole years."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from lungkeras.system.text import printable, say

if TYPE_CHECKING:
    import pandas as pd

OLDEST = 120  # years
PER_YEAR = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}


def years(ages: pd.Series) -> pd.Series:
    """Whole years, Int64, of 58, 058Y, 45yrs, 013M (months), 021D (days); <NA> if it is not a person's age."""
    unit = r"y(?:ea)?r?s?|mo?(?:nths?)?|w(?:eeks?)?|d(?:ays?)?"
    each = ages.drop_duplicates()  # a hundred thousand scans have about a hundred
    parts = each.str.extract(rf"^(\d{{1,9}})(?:[.,]\d+)?\s*({unit}|)$", flags=re.IGNORECASE)
    per_year = parts[1].str[:1].str.upper().map(PER_YEAR).astype("Int64")
    found = ages.map(dict(zip(each, parts[0].astype("Int64") // per_year, strict=True))).astype("Int64")
    return found.mask((found > OLDEST).fillna(False))


def integer_years(ages: pd.Series) -> pd.Series:
    """`years`, as int64 if all are known."""
    found = years(ages)
    return found if found.hasnans else found.astype("int64")


def known_years(ages: pd.Series, dataset: str, where: str) -> pd.Series:
    """`integer_years` of texts; a line on stderr counts the impossible ones, and names `where` they are."""
    known = integer_years(ages)
    impossible = known.isna() & (ages != "")
    if impossible.any():
        say(
            f"{dataset}: {impossible.sum()} ages of {where} are not possible, such as "
            f"{printable(ages[impossible].iloc[0])}: treated as unknown",
            file=sys.stderr,
        )
    return known
