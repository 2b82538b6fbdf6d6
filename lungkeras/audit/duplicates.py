"""Scans that are copies of one another, within a collection and across collections.

Three looks, each at what the one before has left: a hash of the decoded pixels, a perceptual hash of the scan and of
its crops, and the correlation of thumbnails once one is laid over the other. A copy may be re-encoded, resized, cropped
by a few per cent, or of another gamma. Two scans of one patient share much anatomy and are no copies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lungkeras.audit.hashing import SIDE, Fingerprints

if TYPE_CHECKING:
    import pandas as pd

# Measured on drawn chests and on the three collections: copies stay within 24 of the 256 bits and above 0.957; other
# scans are beyond 48 bits in the collections and below 0.947 among a thousand drawn chests.
MOST_BITS = 32
CORRELATION = 0.95
CORRELATION_OF_A_PATIENT = 0.985
MOST_TURN = 0.01  # of the map between two copies: what is turned or sheared was exposed anew
ROWS = 128  # compared at a time
EDGE = 4  # pixels of a thumbnail that are left out of the correlation, as the map blurs them
BACKGROUND = 4.0  # pixels of a thumbnail: what is smoother, exposure and outline, is left out
COLUMNS = ["scan", "other", "kind", "correlation"]


def find_duplicates(prints: Fingerprints, scans: Sequence[str], patients: Sequence[str]) -> pd.DataFrame:
    """The pairs of duplicates among N scans: scan, other (names), kind (same pixels, look alike), correlation.

    A scan that could not be read is in no pair. Of scans that share all pixels, each is paired with the first of them,
    which alone is compared with others: a thousand copies of a scan take no longer than one. A scan of one grey level
    looks like none. Memory does not grow with the square of N.
    """
    import pandas as pd

    patients, copies = np.asarray(patients), defaultdict(list)
    found = [(first, second, "same pixels", 1.0) for first, second in same_pixels(prints)]
    for first, second, _, _ in found:
        copies[first].append(second)
    shows_something = prints.read & (np.ptp(prints.thumbnails.reshape(len(prints), -1), axis=1) > 0)
    rows = np.setdiff1d(np.flatnonzero(shows_something), [second for _, second, _, _ in found])
    for first, second in (rows[list(pair)].tolist() for pair in near(prints.hashes[rows])):
        one, other = prints.thumbnails[first], prints.thumbnails[second]
        correlation = (aligned_correlation(one, other) + aligned_correlation(other, one)) / 2
        alike = [
            (first, second),
            *((first, copy) for copy in copies[second]),
            *((copy, second) for copy in copies[first]),
        ]
        for pair in map(sorted, alike):
            least = CORRELATION_OF_A_PATIENT if patients[pair[0]] == patients[pair[1]] else CORRELATION
            if correlation >= least:
                found.append((*pair, "look alike", round(correlation, 4)))
    names = list(scans)
    rows = [(names[first], names[second], kind, correlation) for first, second, kind, correlation in sorted(found)]
    return pd.DataFrame(rows, columns=COLUMNS)


def across(collections: Mapping[str, tuple[Fingerprints, pd.DataFrame]]) -> pd.DataFrame:
    """The pairs of duplicates whose scans are of two collections.

    Columns: dataset, scan, other_dataset, other, kind, correlation. `collections` holds of each its fingerprints and
    its records, row by row.
    """
    import pandas as pd

    names = list(collections)
    if len(names) < 2:
        return pd.DataFrame(columns=["dataset", "scan", "other_dataset", "other", "kind", "correlation"])
    prints = Fingerprints(
        *(np.concatenate(parts) for parts in zip(*(collections[name][0].arrays() for name in names), strict=True))
    )
    owners = np.repeat(names, [len(collections[name][0]) for name in names])
    scans = np.concatenate([collections[name][1]["scan"].to_numpy(object) for name in names])
    places = [str(place) for place in range(len(prints))]
    pairs = find_duplicates(prints, places, places)
    first, second = pairs["scan"].astype(int).to_numpy(), pairs["other"].astype(int).to_numpy()
    pairs = pairs.assign(dataset=owners[first], scan=scans[first], other_dataset=owners[second], other=scans[second])
    columns = ["dataset", "scan", "other_dataset", "other", "kind", "correlation"]
    return pairs.loc[pairs["dataset"] != pairs["other_dataset"], columns].reset_index(drop=True)


def same_pixels(prints: Fingerprints) -> Iterator[tuple[int, int]]:
    """Rows with the same decoded pixels, each with the first such row."""
    first: dict[bytes, int] = {}
    for row in np.flatnonzero(prints.read):
        seen = first.setdefault(prints.digests[row].tobytes(), int(row))
        if seen != row:
            yield seen, int(row)


def near(hashes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Rows of hashes, uint64 (N, crops, words), of which one's is near that of the other or of one of its crops."""
    for start in range(0, len(hashes), ROWS):
        block = slice(start, start + ROWS)
        least = np.full((len(hashes[block]), len(hashes) - start), 256, np.uint16)
        for crop in range(hashes.shape[1]):
            for one, other in ((hashes[block, 0], hashes[start:, crop]), (hashes[block, crop], hashes[start:, 0])):
                bits = np.zeros(least.shape, np.uint16)
                for word in range(hashes.shape[2]):
                    bits += np.bitwise_count(one[:, None, word] ^ other[None, :, word])
                np.minimum(least, bits, out=least)
        for first, second in np.argwhere(np.triu(least <= MOST_BITS, 1)):
            yield int(start + first), int(start + second)


def aligned_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two thumbnails, uint8 (64, 64), once the other is laid over the one; 0 where it can't be.

    Both are equalised and freed of what is smooth. The map is affine (OpenCV's findTransformECC); one that turns or
    shears gives 0.
    """
    one, other = _detail(one), _detail(other)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-4)
    try:
        _, matrix = cv2.findTransformECC(
            one, other, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, criteria, None, 3
        )
    except cv2.error:  # nothing that the two have in common
        return 0.0
    if max(abs(matrix[0, 1]), abs(matrix[1, 0])) > MOST_TURN:
        return 0.0
    laid = cv2.warpAffine(other, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    inside = np.zeros((SIDE, SIDE), np.float32)
    inside[EDGE:-EDGE, EDGE:-EDGE] = 1
    shared = cv2.warpAffine(inside, matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) * inside > 0
    if shared.sum() < SIDE**2 / 2 or not one[shared].std() or not laid[shared].std():
        return 0.0
    return float(np.corrcoef(one[shared], laid[shared])[0, 1])


def _detail(thumbnail: np.ndarray) -> np.ndarray:
    equalised = cv2.equalizeHist(thumbnail).astype(np.float32)
    return equalised - cv2.GaussianBlur(equalised, (0, 0), BACKGROUND)


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
