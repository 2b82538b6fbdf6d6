"""The findings whose place is known: the boxes of a prepared dataset, beside the scans of its splits."""

from pathlib import Path

import pandas as pd

from lungkeras.preparation.folder import Prepared
from lungkeras.system.errors import RunError
from lungkeras.system.untrusted import table_files

EDGES = ("left", "top", "right", "bottom")


def load_boxes(prepared: Path | str) -> pd.DataFrame:
    """The boxes of a prepared dataset's folder, as in `datasets.boxes.read_boxes`. Raises RunError."""
    file = Path(prepared) / "boxes.parquet"
    try:
        return table_files.read_parquet(file)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{file} can't be read as boxes ({type(error).__name__}). Prepare the dataset again: "
            "lungkeras prepare DATASET --source DIR --to DIR"
        ) from error


def boxed_findings(prepared: Prepared, boxes: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """The findings of a split that have boxes, in the order of its scans.

    Columns: scan, patient, class, place (of the scan in the split's images), edges (its boxes, an array (N, 4)).
    """
    records = prepared.split(split)
    places = dict(zip(records["scan"], records.index, strict=True))
    groups = {
        (scan, name): own[list(EDGES)].to_numpy()
        for (scan, name), own in boxes.groupby(["scan", "class"], sort=False)
        if scan in places and name in prepared.classes
    }
    found = pd.DataFrame(list(groups), columns=["scan", "class"]).assign(edges=list(groups.values()))
    found = found.assign(
        place=found["scan"].map(places), patient=found["scan"].map(records.set_index("scan")["patient"])
    )
    order = found["class"].map({name: column for column, name in enumerate(prepared.classes)})
    return found.assign(order=order).sort_values(["place", "order"]).drop(columns="order").reset_index(drop=True)
