"""The ground truth of a planted source: TRUTH.csv in its root, one row per scan.

Columns: path, patient (a number), label and shown (what the lists say and what was drawn, separated by |), marker (left
top width height), copy_of (a path), copy (its kind), scanner, drain, boxes (finding left top width height, separated by
;). Boxes are in pixels of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.phantoms.planting import Planted
from lungkeras.system.errors import SourceError
from lungkeras.system.untrusted import table_files

if TYPE_CHECKING:
    import pandas as pd

    from lungkeras.datasets.plans import Box, Scan

TRUTH = "TRUTH.csv"
COLUMNS = ("path", "patient", "label", "shown", "marker", "copy_of", "copy", "scanner", "drain", "boxes")


def write_truth(to: Path, planned: Sequence[Scan], truth: Sequence[Planted], boxes: Mapping[str, list[Box]],
                markers: Mapping[str, tuple[int, int, int, int]]) -> None:  # fmt: skip
    """Writes TRUTH.csv; no name in it holds a comma."""
    rows = [COLUMNS]
    for scan, planted in zip(planned, truth, strict=True):
        lesions = [f"{box.finding} {box.left} {box.top} {box.width} {box.height}" for box in boxes[scan.path]]
        rows.append(
            (
                scan.path,
                str(scan.patient),
                "|".join(scan.findings),
                "|".join(planted.shown),
                " ".join(map(str, markers.get(scan.path, ()))),
                "" if planted.copy_of is None else planned[planted.copy_of].path,
                planted.copy,
                "" if planted.scanner is None else str(planted.scanner),
                str(int(planted.drain)),
                ";".join(lesions),
            )
        )
    (to / TRUTH).write_bytes("".join(",".join(row) + "\n" for row in rows).encode())


def read_truth(source: Path | str) -> pd.DataFrame:
    """TRUTH.csv of a planted source, as described above; every column is text, empty if nothing was planted.

    Raises SourceError if the source has none.
    """

    file = Path(source) / TRUTH
    if not file.is_file():
        raise SourceError(f"{source}: expected a source with something planted, found no {TRUTH}: draw it with --plant")
    return table_files.read_csv(file, dtype=str, keep_default_na=False)
