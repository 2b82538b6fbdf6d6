"""Looking for what was published under the folder that a user names, which may be one or two folders off."""

import os
from collections.abc import Iterator
from pathlib import Path

from lungkeras.system.errors import SourceError
from lungkeras.system.text import utf8

DEEPEST = 5
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".jpe", ".jfif"})
OTHER_IMAGES = frozenset({"gif", "bmp", "tiff", "jpeg 2000", "jpeg xl", "webp", "avif", "heic"})
NO_DATA = frozenset({"__MACOSX", "@eaDir"})


def folders_under(source: Path, *, deepest: int | None = DEEPEST) -> Iterator[Path]:
    """`source` itself, then the folders below it, those nearest first, in order of their names.

    Links are followed (data often lies elsewhere), each real folder once. Hidden folders, __MACOSX and @eaDir are no
    data.
    """
    level, seen = ([source] if source.is_dir() else []), set()
    depth = 0
    while level and (deepest is None or depth <= deepest):
        depth += 1
        new = []
        for folder in level:
            if (real := os.path.realpath(folder)) not in seen:
                seen.add(real)
                new.append(folder)
        yield from new
        level = [folder for parent in new for folder in subfolders(parent)]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; links after real folders, which they may repeat."""
    inner = [entry for entry in _entries(folder) if entry.is_dir() and entry.name not in NO_DATA]
    return [Path(entry.path) for entry in sorted(inner, key=lambda entry: (entry.is_symlink(), entry.name))]


def files_in(folder: Path) -> list[Path]:
    """Every file directly in `folder`, hidden ones aside, sorted; links that lead nowhere among them."""
    return [folder / name for name in _file_names(folder)]


def no_image(file: Path) -> str | None:
    """What a file is that neither its content nor its name says to be an image, such as "text"; None for an image.

    A file with an image's name and other contents is for the preparation to quarantine, not to be ignored.
    """
    from lungkeras.datasets.scans.decoding import SCANS, kind_of

    if file.suffix.lower() in IMAGE_SUFFIXES:
        return None
    try:
        kind = kind_of(file)
    except OSError:
        return None  # its reason is given when it is read
    return None if kind in SCANS or kind in OTHER_IMAGES else kind


def file_paths(source: Path) -> dict[str, str]:
    """All files below `source`: file name -> path from there; of files that share a name, the nearest.

    On names, not on Path objects: the NIH's hundred thousand take a second so, and five otherwise.
    """
    paths: dict[str, str] = {}
    for folder in folders_under(source):
        start = "" if folder == source else folder.relative_to(source).as_posix() + "/"
        for name in _file_names(folder):
            paths.setdefault(utf8(name), utf8(start + name))
    return paths


def _file_names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if not entry.is_dir())


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise SourceError(
            f"{folder} can't be read ({error.strerror}): give yourself the right to read it, or name another source"
        ) from None
