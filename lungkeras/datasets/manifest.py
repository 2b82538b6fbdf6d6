"""Compares a source with the published collection: scans per class folder, and the hashes of the label lists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lungkeras.datasets.folders import files_in, folders_under, no_image
from lungkeras.datasets.registry import known_dataset
from lungkeras.system.provenance import file_digest


def differences(dataset: str, source: Path | str) -> list[str]:
    """How a source differs from the published collection, in sentences; empty if it does not.

    A replaced scan is not detected, only an absent one: no hashes of all scans are published.
    """
    known, source = known_dataset(dataset), Path(source)
    found, sentences = known.find(source), []
    if known.scans is not None:
        sentences += _counted({"the folder": known.scans}, {"the folder": sum(scans_by_folder(source).values())})
    if known.lists:
        sentences += _changed(found[0].parent, known.lists)
    for collection in found if known.releases else ():
        there = scans_by_folder(collection)
        release = max(known.releases, key=lambda release: len(set(release) & set(there)))
        sentences += _counted(release, there)
    return sentences


def scans_by_folder(folder: Path) -> dict[str, int]:
    """How many images lie in the folders of each name, or in one called images within them; each real folder once."""
    counts: dict[str, int] = {}
    for place in folders_under(folder):
        name = place.parent.name if place.name.lower() == "images" else place.name
        counts[name] = counts.get(name, 0) + sum(no_image(file) is None for file in files_in(place))
    return counts


def _counted(expected: Mapping[str, int], there: dict[str, int]) -> list[str]:
    return [
        f"{name} has {there.get(name, 0):,} scans, {count:,} were published"
        for name, count in expected.items()
        if there.get(name, 0) != count
    ]


def _changed(folder: Path, expected: Mapping[str, str]) -> list[str]:
    differences = []
    for name, digest in expected.items():
        if not (folder / name).is_file():
            differences.append(f"{name} is absent")
        elif file_digest(folder / name) != digest:
            differences.append(f"{name} is not the published one, by its SHA-256")
    return differences
