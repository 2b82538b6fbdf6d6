"""Files are written whole or not at all: to a temporary name beside the target, then renamed."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lungkeras.inert import csv_cell


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with its suffix, which takes its place when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp is private to its owner; a result is as readable as any file that the user writes.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
