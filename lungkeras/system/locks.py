"""One process at a time makes a result, by a lock that ends with its holder, however that ends."""

import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from lungkeras.system.errors import FolderError
from lungkeras.system.files import on_its_disk, open_plain
from lungkeras.system.text import printable, say

SECONDS_BETWEEN_TRIES = 0.1
WARNED = "LUNGKERAS_NO_LOCKS"  # environment variable, set once the warning about missing locks is printed


class Lock(NamedTuple):
    handle: int  # a process that inherits it holds the lock too
    waited: bool  # whether another process had to end first


@contextmanager
def alone(file: Path | str, work: str, *, patience: float = float("inf")) -> Iterator[Lock]:
    """Holds a lock file, which exists only until the block or the process ends.

    If another process holds it, waits until that ends, and reports this on stderr. `work` describes the work, as in
    "prepared/demo/covid is being prepared". Processes on other machines are seen where the file system supports locks;
    where it does not, a warning is printed once on stderr, and the work starts at once.

    Raises FolderError after `patience` seconds, or if the file can't be made.
    """
    file = Path(file)
    handle, waited = _acquired(file, work, patience)
    try:
        with suppress(OSError):  # a full disk
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield Lock(handle, waited)
    finally:
        with suppress(PermissionError):  # another user's file, which only its owner may remove
            file.unlink(missing_ok=True)
        os.close(handle)


def making(folder: Path | str) -> AbstractContextManager[Lock]:
    """The lock of a folder that is replaced as a whole, by a file next to it."""
    return alone(_beside(Path(folder)), f"{folder} is being made")


def is_being_made(folder: Path) -> bool:
    """Whether a living process holds the lock next to a folder."""
    return is_held(_beside(folder))


def _beside(folder: Path) -> Path:
    return folder.parent / f".{folder.name[:60]}.lock"


def is_held(file: Path) -> bool:
    """Whether a living process holds the lock of a file; assumed true on a file system without locks."""
    try:
        handle = open_plain(file, os.O_RDONLY)
    except (FileNotFoundError, FolderError):  # a folder, a link, or gone
        return False
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


def _acquired(file: Path, work: str, patience: float) -> tuple[int, bool]:
    """The handle of the locked file, and whether another process had to end first."""
    started, waited = time.monotonic(), False
    while True:
        with on_its_disk(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = _opened(file)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = printable(os.read(handle, 200).decode(errors="replace")) or "another process"
            os.close(handle)
            if time.monotonic() - started >= patience:
                raise FolderError(
                    f"{work} by {holder}: wait until it ends, or end it, then run the same command again"
                ) from None
            if not waited and patience == float("inf"):
                say(f"{work} by {holder}: waiting until it ends", file=sys.stderr)
            waited = True
            time.sleep(SECONDS_BETWEEN_TRIES)
            continue
        except OSError:  # a file system without locks
            _warn_once_of_no_locks(file.parent)
            return handle, waited
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(file)):
                return handle, waited
        os.close(handle)  # its last holder has removed the file meanwhile


def _opened(file: Path) -> int:
    try:
        return open_plain(file, os.O_RDWR | os.O_CREAT)
    except PermissionError:  # another user's file, which can be locked nevertheless
        if not file.exists():
            raise
        return open_plain(file, os.O_RDONLY)


def _warn_once_of_no_locks(folder: Path) -> None:
    """Printed by this process, and not again by those that it starts."""
    if not os.environ.get(WARNED):
        say(
            f"{folder} is on a file system without locks: don't run a second command that writes there", file=sys.stderr
        )
        os.environ[WARNED] = "1"
