"""Where findings lie, for sources that record it.

    a published list     named or read by the collection's entry (xray8), by names of scans: in pixels of the
                         published scans, or of its files if the source is drawn
    BOXES.csv            in the root of the other drawn sources, in pixels of each file, with its size

Preparation resizes whole scans, so boxes are stored as fractions of width and height.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lungkeras.datasets.drawn import BOXES
from lungkeras.system.errors import SourceError
from lungkeras.system.untrusted import table_files

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("scan", "class", "left", "top", "right", "bottom")
EDGES = ("left", "top", "width", "height")


def read_boxes(dataset: str, source: Path | str, records: pd.DataFrame) -> pd.DataFrame:
    """The boxes of the records' own findings: one row per box, in the order of the records.

    Columns: scan, class (a class of the dataset, which the scan has), and left, top, right, bottom as shares of the
    scan's width and height, in [0, 1]. Boxes of other findings, without an area, or with an edge that is not a
    number are left out. No rows if the source has no list of boxes. Raises SourceError if a list can't be read.
    """
    import pandas as pd

    from lungkeras.datasets.registry import known_dataset

    table = known_dataset(dataset).box_table
    listed = table(Path(source), records) if table else _listed(dataset, Path(source))
    if listed is None:
        return pd.DataFrame(columns=COLUMNS).astype(dict.fromkeys(COLUMNS[2:], float))
    for start, extent, side in (("left", "width", "scan_width"), ("top", "height", "scan_height")):
        end = {"left": "right", "top": "bottom"}[start]
        listed[end] = ((listed[start] + listed[extent]) / listed[side]).clip(0, 1)
        listed[start] = (listed[start] / listed[side]).clip(0, 1)
    whole = np.isfinite(listed[list(COLUMNS[2:])]).all(axis=1)
    listed = listed[whole & (listed["right"] > listed["left"]) & (listed["bottom"] > listed["top"])]

    place = {path: row for row, path in enumerate(records["path"])}
    if known_dataset(dataset).boxes or table:  # a published list names files in any folder
        place |= {scan: row for row, scan in enumerate(records["scan"])}
    listed = listed.assign(row=listed["path"].map(place), **{"class": listed["finding"].str.lower()})
    listed = listed[listed["row"].notna() & listed["class"].isin(known_dataset(dataset).classes)].astype({"row": int})
    shown = [records[name].iloc[row] == 1 for name, row in zip(listed["class"], listed["row"], strict=True)]
    listed = listed[np.array(shown, dtype=bool)].sort_values("row", kind="stable")
    listed.insert(0, "scan", records["scan"].to_numpy()[listed["row"]])
    return listed[list(COLUMNS)].reset_index(drop=True)


def _listed(dataset: str, source: Path) -> pd.DataFrame | None:
    """path, finding, EDGES, scan_width, scan_height of all boxes that a source lists; None if it lists none."""
    from lungkeras.datasets.registry import known_dataset

    published = known_dataset(dataset).boxes
    file, side = published(source) if published else (source / BOXES, None)
    names = ("path", "finding", *EDGES, *(() if published else ("scan_width", "scan_height")))
    if not file.is_file():
        return None
    texts = dict.fromkeys(("path", "finding"), "str")
    try:
        # The published heading has more columns than the rows, and a comma within one of them.
        listed = table_files.read_csv(
            file, header=None, names=names, skiprows=1, usecols=range(len(names)), dtype=texts
        )
        listed = listed.astype(dict.fromkeys(names[2:], float)).dropna(subset=["path", "finding"])
    except (ValueError, OSError) as error:
        raise SourceError(
            f"{dataset}: {file} can't be read as a list of boxes. Expected the columns {', '.join(names)}; found "
            f"{type(error).__name__}: {str(error).splitlines()[0]}. Fetch it again, or move it away to go without boxes"
        ) from None
    return listed.assign(scan_width=side, scan_height=side) if published else listed
