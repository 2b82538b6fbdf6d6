"""Finds a published collection below the folder that a user names, which may be one or two levels off."""

import os
from collections.abc import Iterator
from pathlib import Path

from lungkeras.system.errors import SourceError
from lungkeras.system.text import utf8

# Suffixes of image files, whether they are read or refused.
IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".dcm", ".dicom", ".dic"),
    *(".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".heic", ".heif", ".svg"),
    *(".jp2", ".j2k", ".jpx", ".jls", ".jxl", ".pgm", ".ppm", ".pnm", ".nii", ".nii.gz", ".mha", ".nrrd"),
)
OTHER_IMAGES = frozenset({"gif", "bmp", "tiff", "jpeg 2000", "jpeg xl", "webp", "avif", "heic", "svg"})
NO_DATA = frozenset({"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"})


def folders_under(source: Path) -> Iterator[Path]:
    """`source` itself, then all folders below it, those nearest first, in order of their names.

    Links are followed (data is often stored elsewhere), each real folder once, so loops end. Hidden folders and the
    system folders in NO_DATA are skipped.
    """
    level, seen = ([(source, os.path.realpath(source))] if source.is_dir() else []), set()
    while level:
        new = []
        for folder, real in level:
            if real not in seen:
                seen.add(real)
                new.append((folder, real))
        yield from (folder for folder, _ in new)
        # The real path of a folder that is not a link follows from its parent's: this saves a system call for each of
        # 250,000 folders.
        level = [
            (Path(entry.path), os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, entry.name))
            for parent, real in new
            for entry in _inner_folders(parent)
        ]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; links after real folders, which they may repeat."""
    return [Path(entry.path) for entry in _inner_folders(folder)]


def _inner_folders(folder: Path) -> list[os.DirEntry]:
    inner = [entry for entry in _entries(folder) if _is_folder(entry) and entry.name not in NO_DATA]
    return sorted(inner, key=lambda entry: (entry.is_symlink(), entry.name))


def files_in(folder: Path) -> list[Path]:
    """Every file directly in `folder`, hidden ones aside, sorted; links that lead nowhere among them."""
    return sorted(Path(entry.path) for entry in _entries(folder) if not _is_folder(entry))


def no_image(file: Path | str) -> str | None:
    """The kind of a file that is not an image by content or name, such as "text"; None for an image.

    A file with an image's name and other content is quarantined by the preparation, not ignored.
    """
    from lungkeras.datasets.scans.decoding import SCANS, kind_of

    if os.fspath(file).lower().endswith(IMAGE_SUFFIXES):
        return None
    try:
        kind = kind_of(file)
    except OSError:
        return None  # its reason is given when it is read
    return None if kind in SCANS or kind in OTHER_IMAGES else kind


def file_paths(source: Path) -> dict[str, object]:
    """All files below `source`, those of the nearest folders first: path from there -> identity of the real file.

    A link and its target have the same value; a broken link has None.

    It works on names, not on Path objects: the hundred thousand files of NIH take one second instead of five.
    """
    files: dict[str, os.DirEntry] = {}
    any_link = False
    for folder in folders_under(source):
        start = "" if folder == source else folder.relative_to(source).as_posix() + "/"
        entries = sorted(_entries(folder), key=lambda entry: entry.name)
        any_link |= any(entry.is_symlink() for entry in entries)
        files |= {utf8(start + entry.name): entry for entry in entries if not _is_folder(entry)}
    return {path: _real_file(entry) if any_link else path for path, entry in files.items()}


def _real_file(entry: os.DirEntry) -> tuple[int, int] | None:
    try:
        return entry.stat().st_dev, entry.stat().st_ino
    except OSError:
        return None


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise SourceError(
            f"{folder} can't be read ({error.strerror}): give yourself the right to read it, or name another source"
        ) from None
