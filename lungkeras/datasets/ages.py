"""Ages as written in collections -> whole years."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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
