"""Files are written whole or not at all: to a temporary name beside the target, then renamed.

Who writes a temporary holds a lock on it, which the system frees when its holder ends, however it ends. So what a
killed process left is told from what another is writing, and the next that writes to the same folder sweeps it away.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.errors import RunError
from lungkeras.inert import csv_cell

if TYPE_CHECKING:
    import numpy as np

TEMPORARY = ".writing-"


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with its suffix, which takes its place when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked_file(path.parent, "".join(path.suffixes[-2:])) as temporary:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp is private to its owner; a result is as readable as any file that the user writes.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)


@contextmanager
def atomic_folder(to: Path | str) -> Iterator[Path]:
    """Yields an empty folder beside `to`, which takes its place when the block succeeds and vanishes when not."""
    to = Path(to)
    with temporary_folder(to.parent) as temporary:
        new = temporary / "new"
        new.mkdir()
        yield new
        if to.exists():
            to.rename(temporary / "before")
        new.rename(to)


@contextmanager
def temporary_folder(beside: Path | str) -> Iterator[Path]:
    """Yields an empty folder in the folder `beside`, for its owner alone, which vanishes when the block ends."""
    beside = Path(beside)
    beside.mkdir(parents=True, exist_ok=True)
    with _locked_file(beside, "") as lock:
        folder = _folder_of(lock)
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def held(file: Path | str, busy: str) -> Iterator[int]:
    """Holds a lock file until the block ends, or its process does; yields its number, by which a child holds it too.

    Raises RunError, with the words of `busy`, where another process holds it.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(busy) from None
        yield lock.fileno()


@contextmanager
def _locked_file(folder: Path, suffix: str) -> Iterator[Path]:
    """A new file in a folder, locked by this process until the block ends; it vanishes unless it was renamed."""
    sweep(folder.resolve())
    handle, temporary = _new_locked_file(folder, suffix)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _new_locked_file(folder: Path, suffix: str) -> tuple[int, Path]:
    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=TEMPORARY, suffix=suffix)
        with suppress(OSError):  # a file system without locks, where nothing is swept either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):
            return handle, Path(name)
        os.close(handle)  # swept before it was locked


def _folder_of(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}.folder")


@functools.cache
def sweep(folder: Path) -> None:
    """Removes the temporaries that killed processes left in a folder, once a process; those being written stay."""
    for temporary in folder.glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            handle = os.open(temporary, os.O_RDWR)  # no folder opens so: each has its lock beside it
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(_folder_of(temporary), ignore_errors=True)
                temporary.unlink()
            finally:
                os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(path: Path | str, text: str) -> None:
    """Writes UTF-8 text."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, data: object) -> None:
    """Writes `as_json` with a newline at its end."""
    write_text(path, as_json(data) + "\n")


def as_json(data: object) -> str:
    """Indented JSON; NaN becomes null, as JSON has no NaN."""
    return json.dumps(_without_nan(data), indent=2)


def _without_nan(data: object) -> object:
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_without_nan(value) for value in data]
    if isinstance(data, float) and data != data:
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
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def write_arrays(path: Path | str, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """Writes arrays by their names as .npz, each with a checksum."""
    import numpy as np

    with atomic(path) as temporary:
        (np.savez_compressed if compressed else np.savez)(temporary, **arrays)


def new_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A memory-mapped .npy of bytes, all 0, to be filled where it lies: in a folder that appears whole."""
    import numpy as np

    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def glance(folder: Path | str, most: int = 5) -> str:
    """What lies in a folder, in a few words for an error message."""
    folder = Path(folder)
    if not folder.exists():
        return "no such folder"
    if not folder.is_dir():
        return "a file, not a folder"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    if not names:
        return "an empty folder"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
