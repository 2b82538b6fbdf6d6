"""The images to predict: found in folders, each once, with the names by which results call them."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lungkeras.datasets.folders import files_in, folders_under, no_image
from lungkeras.system.errors import ScanError


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """The files to predict: each stated file as it is, each folder's images at any depth, sorted.

    In a folder, a file is used if it is an image by content or name; hidden files and folders are skipped. A stated
    file is always tried, so its fault is reported. No file occurs twice. Raises ScanError if there are none.
    """
    return images_and_others(paths)[0]


def images_and_others(paths: Iterable[Path | str]) -> tuple[list[Path], dict[str, int]]:
    """`find_images`, and the number of other files in the folders, by kind."""
    found, others, paths = {}, {}, [Path(path) for path in paths]
    for path in paths:
        for file in _files_below(path) if path.is_dir() else [path]:
            place = os.path.join(os.path.realpath(file.parent), file.name)
            if file is not path and (kind := no_image(file)):
                others[place] = kind
            else:
                found.setdefault(place, file)
    counts = dict(sorted(Counter(others.values()).items()))
    if not found:
        asked = ", ".join(map(str, paths))
        raise ScanError(
            f"No PNG, JPEG or DICOM file in {asked}{other_files(counts)}: give images, or folders that hold some."
        )
    return list(found.values()), counts


def names_of(files: Sequence[Path | str], given: Iterable[Path | str]) -> list[str]:
    """The name of each file in results: its path below the given folder, or its file name if it was given itself.

    Files of one name get as many parent folders as distinguish them.
    """
    places = [Path(os.path.abspath(file)).parts for file in files]
    folders = [Path(os.path.abspath(path)).parts for path in given if Path(path).is_dir()]
    above = [max((len(own) for own in folders if place[: len(own)] == own), default=len(place) - 1) for place in places]
    while True:
        names = ["/".join(place[start:]) for place, start in zip(places, above, strict=True)]
        counts = Counter(names)
        if counts.total() == len(counts):
            return names
        above = [start - (counts[name] > 1) for start, name in zip(above, names, strict=True)]


def other_files(others: Mapping[str, int]) -> str:
    """The files of a folder that were not images, for a sentence; empty if there were none."""
    return f" (no image: {', '.join(f'{number:,} {kind}' for kind, number in others.items())})" if others else ""


def _files_below(folder: Path) -> list[Path]:
    """Each real file of a folder once, sorted; under its own name rather than under that of a link."""
    once: dict[str, Path] = {}
    for below in folders_under(folder):
        for file in sorted(files_in(below), key=lambda file: file.is_symlink()):
            once.setdefault(os.path.realpath(file), file)
    return sorted(once.values())
