"""Scans that are copies of one another, within a collection and across collections.

First the decoded pixels are compared, then the image content (`alignment`). A copy may be re-encoded, resized, cropped
or padded by up to a tenth per side, changed in tone, mirrored, inverted, rotated by a few degrees, or written on. Two
scans of one patient share much anatomy but are not copies.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lungkeras.preparation.alignment import candidates, likeness
from lungkeras.preparation.prints import Fingerprints
from lungkeras.system.files import write_json
from lungkeras.system.provenance import code_digest, digest, read

if TYPE_CHECKING:
    import pandas as pd

# With 150 real scans, 97 in 100 copies of each kind are above 0.88, or have three quarters of their cells above 0.86;
# other real pairs stay below 0.77 and 0.63, drawn ones below 0.86 and 0.81, and those of one drawn patient below 0.95.
CORRELATION, IN_CELLS = 0.88, 0.86
CORRELATION_OF_A_PATIENT, IN_CELLS_OF_A_PATIENT = 0.965, 0.97
KEPT = "copies.json"  # in the folder of a study's prepared datasets: the copies across them
COLUMNS = ["scan", "other", "kind", "correlation"]


def find_duplicates(prints: Fingerprints, scans: Sequence[str], patients: Sequence[str]) -> pd.DataFrame:
    """The pairs of duplicates among N scans: scan, other (names), kind (same pixels, look alike), correlation.

    A scan that could not be read is in no pair. Scans with identical pixels are each paired with the first of them, and
    only that one is compared with others: a thousand copies of a scan take no longer than one. A scan of one grey level
    matches none. Memory does not grow with the square of N; only the time of the first stage does (see
    lungkeras.preparation.alignment).
    """
    import pandas as pd

    patients, copies = np.asarray(patients), defaultdict(list)
    found = [(first, second, "same pixels", 1.0) for first, second in same_pixels(prints)]
    for first, second, _, _ in found:
        copies[first].append(second)
    shows_something = prints.read & (np.ptp(prints.pictures.reshape(len(prints), -1), axis=1) > 0)
    rows = np.setdiff1d(np.flatnonzero(shows_something), [second for _, second, _, _ in found])
    close = [(int(rows[one]), int(rows[other]), view) for one, other, view in candidates(prints.pictures[rows])]

    def laid(pair: tuple[int, int, int]) -> tuple[float, float]:
        return likeness(prints.pictures[pair[0]], prints.pictures[pair[1]], pair[2])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        measured = list(pool.map(laid, close))
    for (first, second, _), (correlation, in_cells) in zip(close, measured, strict=True):
        alike = [
            (first, second),
            *((first, copy) for copy in copies[second]),
            *((copy, second) for copy in copies[first]),
        ]
        for pair in map(sorted, alike):
            same = patients[pair[0]] == patients[pair[1]]
            least, least_in_cells = (
                (CORRELATION_OF_A_PATIENT, IN_CELLS_OF_A_PATIENT) if same else (CORRELATION, IN_CELLS)
            )
            if correlation >= least or in_cells >= least_in_cells:
                found.append((*pair, "look alike", round(correlation, 4)))
    names = list(scans)
    rows = [(names[first], names[second], kind, correlation) for first, second, kind, correlation in sorted(found)]
    return pd.DataFrame(rows, columns=COLUMNS)


def across(collections: Mapping[str, tuple[Fingerprints, pd.DataFrame]], kept: Path | None = None) -> pd.DataFrame:
    """The pairs of duplicates across two collections.

    Columns: dataset, scan, other_dataset, other, kind, correlation. `collections` holds the fingerprints and records of
    each, row by row. The result is cached in the file `kept` as long as fingerprints, scan names and code are the same:
    a search takes a minute for some thousand scans.
    """
    import pandas as pd

    names = list(collections)
    columns = ["dataset", "scan", "other_dataset", "other", "kind", "correlation"]
    if len(names) < 2:
        return pd.DataFrame(columns=columns)
    prints = Fingerprints(
        *(np.concatenate(parts) for parts in zip(*(collections[name][0].arrays() for name in names), strict=True))
    )
    owners = np.repeat(names, [len(collections[name][0]) for name in names])
    scans = np.concatenate([collections[name][1]["scan"].to_numpy(object) for name in names])
    asked = _question(prints, owners, scans) if kept else ""
    if kept and (known := read(kept)).get("asked") == asked:
        with suppress(ValueError, TypeError):  # as a damaged file may have it
            return pd.DataFrame(known.get("pairs"), columns=columns)
    places = [str(place) for place in range(len(prints))]
    pairs = find_duplicates(prints, places, places)
    first, second = pairs["scan"].astype(int).to_numpy(), pairs["other"].astype(int).to_numpy()
    pairs = pairs.assign(dataset=owners[first], scan=scans[first], other_dataset=owners[second], other=scans[second])
    pairs = pairs.loc[pairs["dataset"] != pairs["other_dataset"], columns].reset_index(drop=True)
    if kept:
        write_json(kept, {"asked": asked, "pairs": pairs.to_numpy(object).tolist()})
    return pairs


def _question(prints: Fingerprints, owners: np.ndarray, scans: np.ndarray) -> str:
    """SHA-256 of the inputs of a search across collections."""
    held = hashlib.sha256()
    for array in prints.arrays():
        held.update(np.ascontiguousarray(array).tobytes())
    code = code_digest(f"preparation/{name}" for name in ("alignment", "duplicates", "prints"))
    return digest(held.hexdigest(), code, *owners.tolist(), *scans.tolist())


def same_pixels(prints: Fingerprints) -> Iterator[tuple[int, int]]:
    """Rows with the same decoded pixels, each with the first such row."""
    first: dict[bytes, int] = {}
    for row in np.flatnonzero(prints.read):
        seen = first.setdefault(prints.digests[row].tobytes(), int(row))
        if seen != row:
            yield seen, int(row)


def copies_of(scans: Iterable[str], pairs: pd.DataFrame) -> set[str]:
    """The scans joined to these by the pairs (columns scan, other), including copies of copies, without these scans."""
    start = set(scans)
    found, ends = set(start), pairs[["scan", "other"]].to_numpy(object).tolist()
    while more := {scan for pair in ends if found & set(pair) for scan in pair} - found:
        found |= more
    return found - start


def join_patients(records: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """The group of each scan: its patient, joined with those who share a duplicate; named after the first of them."""
    patients = np.unique(records["patient"])
    patient_of = dict(zip(records["scan"], records["patient"], strict=True))
    ends = [
        np.searchsorted(patients, [patient_of[scan] for scan in pairs[column]]).astype(int)
        for column in ("scan", "other")
    ]
    links = coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(len(patients),) * 2)
    component = connected_components(links, directed=False)[1]
    first = np.unique(component, return_index=True)[1]
    return records["patient"].map(dict(zip(patients, patients[first[component]], strict=True)))
