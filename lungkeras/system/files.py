"""Files are written whole or not at all: to a temporary name next to the target, then renamed.

The writer of a temporary file holds a lock on it, which the system frees when the process ends, however it ends. This
distinguishes leftovers of a killed process from files being written, and the next writer to the same folder removes the
leftovers.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.system.errors import FolderError, nearest
from lungkeras.system.text import csv_cell

if TYPE_CHECKING:
    import numpy as np

TEMPORARY = ".writing-"
NO_ROOM = {
    errno.ENOSPC: ("its disk is full", "make room"),
    errno.EDQUOT: ("your quota of its disk is used up", "remove files of yours there"),
    errno.EFBIG: ("it would be larger than a file may be here", "raise the limit (ulimit -f)"),
}
NO_RIGHT = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path next to `path`, with its suffix, which replaces it when the block succeeds."""
    path = Path(path)
    with on_its_disk(path), _locked_file(path.parent, "".join(path.suffixes[-2:])) as temporary:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)


@contextmanager
def atomic_folder(to: Path | str) -> Iterator[Path]:
    """Yields an empty folder next to `to`, which replaces it when the block succeeds and is removed otherwise."""
    to = Path(to)
    with on_its_disk(to), temporary_folder(to.parent) as temporary:
        new = temporary / "new"
        new.mkdir()
        yield new
        if to.exists():
            to.rename(temporary / "before")
        new.rename(to)


@contextmanager
def together(folder: Path | str, last: str, former: Iterable[str] = ()) -> Iterator[Path]:
    """Yields an empty folder; when the block succeeds, its files move to `folder`, and `former` ones not in it go.

    `last`, the page that describes the others, is removed first and appears last: it never stands beside files of
    another time. Raises FolderError if a folder on the way is a link, as nothing is written outside `folder`.
    """
    folder = Path(folder)
    with on_its_disk(folder / last), temporary_folder(folder) as temporary:
        yield temporary
        files = sorted(file.relative_to(temporary) for file in temporary.rglob("*") if file.is_file())
        for parent in sorted({file.parent for file in files} - {Path()}):
            if (folder / parent).is_symlink():
                raise FolderError(f"{folder / parent} is a link, expected a folder: remove it")
            (folder / parent).mkdir(parents=True, exist_ok=True)
        for name in (last, *former):
            if name == last or Path(name) not in files:
                (folder / name).unlink(missing_ok=True)
        for file in sorted(files, key=lambda file: file == Path(last)):
            (temporary / file).replace(folder / file)


@contextmanager
def temporary_folder(beside: Path | str) -> Iterator[Path]:
    """Yields an empty folder in the folder `beside`, for its owner alone; it is removed when the block ends."""
    with _locked_file(Path(beside), "") as lock:
        folder = _folder_of(lock)
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def on_its_disk(path: Path) -> Iterator[None]:
    """Raises FolderError, in one sentence, if a path can't be written: no space on its disk, or no permission."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise FolderError(no_room(error, path)) from error
        if error.errno in NO_RIGHT and _lies_in(error.filename, path.parent):
            raise FolderError(
                f"{path} can't be written ({error.strerror.lower()}): make its folder writable or name another one, "
                "then run the same command again"
            ) from error
        raise


def no_room(error: OSError, path: Path | None = None) -> str:
    """The sentence on an error of NO_ROOM: which file, why, and what to do. The error itself rarely names its file."""
    if path is None and isinstance(error.filename, str | bytes):
        path = Path(os.fsdecode(error.filename))
    cause, advice = NO_ROOM[error.errno]
    left = f" ({megabytes(free_bytes(path))} left)" if path else ""
    return f"{path or 'a file'} can't be written: {cause}{left}: {advice}, then run the same command again"


def open_plain(path: Path | str, flags: int) -> int:
    """The handle of a plain file, created if `flags` say so. Raises FolderError for a link, a pipe or a device.

    A file of a study may come from a stranger: the target of a link is not ours to write to, and a pipe would block.
    """
    handle = None
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        about = os.fstat(handle)
        if stat.S_ISREG(about.st_mode) and about.st_nlink <= 1:
            return handle
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise
    if handle is not None:
        os.close(handle)
    raise FolderError(f"{path} is a link, a pipe or a device, expected a plain file: remove it")


def refuse_links(folder: Path | str) -> None:
    """Raises FolderError if a folder of results contains a link: files written there must stay there.

    So does a pipe or a device, whose reader would wait. The folder itself may be a link, as data is often stored
    elsewhere.
    """
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            kind = os.lstat(place := os.path.join(parent, name)).st_mode
            if not (stat.S_ISLNK(kind) or stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
                raise FolderError(f"{place} is a pipe or a device, expected a plain file: remove it")
            if stat.S_ISLNK(kind):
                raise FolderError(
                    f"{place} is a link, and results are written next to it: remove it or move its target here, or "
                    "name the folder itself in study.yaml"
                )


def require_room(folder: Path | str, needed: int, work: str) -> None:
    """Raises FolderError if the disk of a folder, which need not exist yet, has less space than `work` needs."""
    if needed > (free := free_bytes(Path(folder))):
        raise FolderError(
            f"{folder} has room for {megabytes(free)}; {work} needs {megabytes(needed)}: make room or name another "
            "folder, then run the same command again"
        )


def free_bytes(path: Path) -> int:
    """The free space on the disk of a path, or of its nearest existing parent."""
    return shutil.disk_usage(next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())).free


def megabytes(size: float) -> str:
    """1234567 -> "1.2 MB"."""
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


def _lies_in(name: str | bytes | None, folder: Path) -> bool:
    """Whether an error names no file, or one in this folder, on the way to it, or below it."""
    if name is None:
        return True
    file, folder = Path(os.fsdecode(name)).absolute(), folder.absolute()
    return file == folder or file in folder.parents or folder in file.parents


@contextmanager
def _locked_file(folder: Path, suffix: str) -> Iterator[Path]:
    """A new file in a folder, locked by this process until the block ends; it vanishes unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder.resolve())
    handle, temporary = _new_locked_file(folder, suffix)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _new_locked_file(folder: Path, suffix: str) -> tuple[int, Path]:
    while True:
        temporary = folder / f"{TEMPORARY}{secrets.token_hex(8)}{suffix}"
        # Unlike one of mkstemp, which is its owner's alone, it is as readable as any file that the user writes.
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # a file system without locks, where nothing is swept either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():
            return handle, temporary
        os.close(handle)  # swept before it was locked


def _folder_of(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}.folder")


@functools.cache
def sweep(folder: Path) -> None:
    """Removes the temporaries that killed processes left in a folder, once a process; those being written stay."""
    for temporary in folder.glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            handle = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW)  # folders have their lock next to them
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(_folder_of(temporary), ignore_errors=True)
                temporary.unlink()
            finally:
                os.close(handle)


def write_text(path: Path | str, text: str) -> None:
    """Writes UTF-8 text."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, data: object) -> None:
    """Writes `as_json` with a newline at its end."""
    write_text(path, as_json(data) + "\n")


def as_json(data: object) -> str:
    """Indented JSON; NaN and infinities become null, as JSON has none."""
    return json.dumps(_finite(data), indent=2)


def _finite(data: object) -> object:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def write_csv(path: Path | str, frame) -> None:
    """Writes a DataFrame without its index. No text of it is a formula, and none holds a control character."""
    texts = frame.select_dtypes(exclude=["number", "bool"])
    frame = frame.assign(**{name: texts[name].map(csv_cell) for name in texts})
    with atomic(path) as temporary:
        frame.rename(columns=csv_cell).to_csv(temporary, index=False)


def write_parquet(path: Path | str, frame) -> None:
    """Writes a DataFrame without its index."""
    # Arrow takes names of files in UTF-8 alone; Python opens any.
    with atomic(path) as temporary, temporary.open("wb") as file:
        frame.to_parquet(file, index=False)


def write_arrays(path: Path | str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by their names as .npz, each with a checksum."""
    import numpy as np

    with atomic(path) as temporary:
        np.savez(temporary, **arrays)


def new_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A memory-mapped .npy of zero bytes, to be filled in place, in a folder that appears whole.

    Its space is allocated at once: a process that fills a mapped file on a full disk is killed. Raises FolderError.
    """
    import numpy as np

    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with on_its_disk(path), path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that can't allocate ahead
                raise
    return array


def glance(folder: Path | str, most: int = 5) -> str:
    """The content of a folder, in a few words for an error message."""
    folder = Path(folder)
    if not folder.exists():
        return f"no such folder{_nearest_there(folder)}"
    if not folder.is_dir():
        return "a file, not a folder"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    if not names:
        return "an empty folder"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _nearest_there(folder: Path) -> str:
    """A question that suggests siblings of the first missing part of a path."""
    folder = folder.absolute()
    missing = next(path for path in (*folder.parents[::-1], folder) if not path.exists())
    names = [entry.name for entry in missing.parent.iterdir()] if os.access(missing.parent, os.R_OK) else []
    return nearest(missing.name, names)
