"""The prepared folder, opened: arrays on disk, their records and statistics."""

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.policies import DEFAULTS, labels_under
from lungkeras.splits import SPLITS
from lungkeras.system import places
from lungkeras.system.errors import RunError
from lungkeras.system.files import glance
from lungkeras.system.provenance import changed_files
from lungkeras.system.text import say
from lungkeras.system.untrusted import json_files, table_files


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset, opened.

    `mean` and `std` are those of the training split in grey levels [0, 255]; `records` has one row per scan in the
    order of its split's array; `images` holds uint8 of shape (scans, size, size) for train, val and test,
    memory-mapped. `source` is the folder that they were read from, `drawn` whether it held phantoms. `uncertain` and
    `blank` are the policies for unknown labels (lungkeras.datasets.policies); the records keep the labels as published.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    size: int
    mean: float
    std: float
    records: pd.DataFrame
    images: dict[str, np.ndarray]
    source: str = ""
    drawn: bool = False
    uncertain: str = DEFAULTS["uncertain"]
    blank: str = DEFAULTS["blank"]

    def split(self, split: str) -> pd.DataFrame:
        """The records of one split, in the order of its images."""
        return self.records[self.records["split"] == split].reset_index(drop=True)

    def labels(self, split: str) -> np.ndarray:
        """float32 of shape (scans, classes): 1 where a scan has the class, else 0, and NaN for what is ignored."""
        return labels_under(self.split(split), self.classes, self.uncertain, self.blank)


def load_prepared(
    folder: Path | str, *, uncertain: str = DEFAULTS["uncertain"], blank: str = DEFAULTS["blank"]
) -> Prepared:
    """Opens what `preparation.prepare_dataset` wrote; `uncertain` and `blank` are the policies of its labels.

    Raises RunError, with the command that prepares it again, if a part is missing, truncated, of another type or shape,
    or swapped with another. A file whose bytes have changed is used, since someone may have corrected it; a line on
    stderr reports this.

    >>> data = lungkeras.load_prepared("prepared/demo/pneumonia")
    >>> data.images["train"].shape, data.labels("train").shape
    ((42, 32, 32), (42, 3))
    """
    folder = Path(folder)
    try:
        statistics = json_files.loads((folder / "statistics.json").read_text(encoding="utf-8"))
        prepared = Prepared(
            name=statistics["dataset"],
            task=statistics["task"],
            classes=tuple(statistics["classes"]),
            size=statistics["size"],
            mean=statistics["mean"],
            std=statistics["std"],
            records=pd.DataFrame(),
            images={},
            source=statistics.get("source", ""),
            drawn=statistics.get("drawn", False),
            uncertain=uncertain,
            blank=blank,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{folder} is not a prepared dataset: it holds {glance(folder)}. "
            f"Prepare one: lungkeras prepare DATASET --source DIR --to {folder}"
        ) from error
    again = (
        f"Prepare it again: lungkeras prepare {prepared.name} "
        f"--source {shlex.quote(str(places.find(prepared.source) or 'DIR'))} "
        f"--to {shlex.quote(str(folder))} --size {prepared.size}"
    )
    try:
        prepared = replace(prepared, records=_open_records(folder / "records.parquet", prepared))
        images = {split: _open_array(folder / f"{split}.npy", prepared, split) for split in SPLITS}
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is damaged: {error}. {again}") from error
    changed = changed_files(folder, statistics.get("files", {}))
    for name, owner in changed.items():
        if owner:
            raise RunError(f"{folder / name} holds what {owner} held when it was prepared. {again}")
    if changed:
        say(f"{folder}: {', '.join(changed)} changed after preparation; the changed data are used", file=sys.stderr)
    return replace(prepared, images=images)


def _open_records(file: Path, prepared: Prepared) -> pd.DataFrame:
    """The records. Raises OSError or ValueError, naming the file, if they are damaged or lack a column."""
    try:
        records = table_files.read_parquet(file)
    except ValueError as error:
        raise ValueError(f"{file.name} can't be opened ({error})") from error
    if missing := [name for name in ("scan", "split", *prepared.classes) if name not in records]:
        raise ValueError(f"{file.name} has no column {missing[0]}")
    records.attrs["classes"] = list(prepared.classes)
    return records


def _open_array(file: Path, prepared: Prepared, split: str) -> np.ndarray:
    """The memory-mapped array of a split. Raises OSError or ValueError, naming the file, if it has another shape."""
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except ValueError as error:  # cut, no array, or one of Python's objects
        raise ValueError(f"{file.name} can't be opened ({error})") from error
    expected = (len(prepared.split(split)), prepared.size, prepared.size)
    if (array.dtype, array.shape) != (np.uint8, expected):
        found = f"has the shape {array.shape} of {array.dtype}"
        raise ValueError(f"{file.name} {found}, the records and statistics say {expected} of uint8")
    if (spare := file.stat().st_size - array.offset - array.nbytes) > 0:
        raise ValueError(f"{file.name} is {spare:,} bytes longer than its array")
    return array
