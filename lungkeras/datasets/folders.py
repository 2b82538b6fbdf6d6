"""Looking for what was published under the folder that a user names, which may be one or two folders off."""

import os
from collections.abc import Iterator
from pathlib import Path

from lungkeras.errors import SourceError
from lungkeras.inert import utf8

DEEPEST = 5
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom"})


def folders_under(source: Path) -> Iterator[Path]:
    """`source` itself, then the folders below it, those nearest first, in order of their names.

    Links are followed (data often lies elsewhere); the depth ends what loops. Hidden folders and __MACOSX are no data.
    """
    level = [source] if source.is_dir() else []
    for _ in range(DEEPEST + 1):
        yield from level
        level = [folder for parent in level for folder in subfolders(parent)]


def subfolders(folder: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in _entries(folder) if entry.is_dir() and entry.name != "__MACOSX")


def images_in(folder: Path) -> list[Path]:
    """The scans directly in `folder`, sorted, told by suffix alone.

    A file with a scan's name and broken contents is listed: it is for the preparation to quarantine, not to be ignored.
    """
    return [folder / name for name in _image_names(folder)]


def image_paths(source: Path) -> dict[str, str]:
    """All scans below `source`: file name -> path from there; of files that share a name, the nearest.

    On names, not on Path objects: the NIH's hundred thousand take a second so, and five otherwise.
    """
    paths: dict[str, str] = {}
    for folder in folders_under(source):
        start = "" if folder == source else folder.relative_to(source).as_posix() + "/"
        for name in _image_names(folder):
            paths.setdefault(utf8(name), utf8(start + name))
    return paths


def _image_names(folder: Path) -> list[str]:
    names = (entry.name for entry in _entries(folder) if entry.is_file())
    return sorted(name for name in names if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES)


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise SourceError(
            f"{folder} can't be read ({error.strerror}): give yourself the right to read it, or name another source"
        ) from None
