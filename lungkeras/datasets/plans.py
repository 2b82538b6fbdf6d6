"""What will be drawn: scans with their findings, and how many per class or patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Scan:
    """One file to draw: `path` from the source's root, `findings` as labelled, `number` counts the patient's scans."""

    path: str
    findings: tuple[str, ...]
    patient: int
    number: int = 0


@dataclass(frozen=True)
class Box:
    """Where a lesion is: left, top, width, height in pixels of its film."""

    finding: str
    left: int
    top: int
    width: int
    height: int


def counts_of(scans: int, shares: tuple[float, ...]) -> list[int]:
    """This many scans divided by shares; the last takes the rest.

    >>> counts_of(10, (0.36, 0.64))
    [4, 6]
    """
    counts = [round(scans * share) for share in shares]
    return [*counts[:-1], scans - sum(counts[:-1])]


def scans_of_patients(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[int]:
    """Numbers of scans of one patient after another, `scans` in all."""
    sizes = rng.choice(list(shares), scans, p=list(shares.values()))
    sizes = sizes[: sizes.cumsum().searchsorted(scans) + 1]
    return [*map(int, sizes[:-1]), int(scans - sizes[:-1].sum())]
