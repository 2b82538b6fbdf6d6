"""Errors that a user can fix: each is one sentence that says what was expected, what was found, and what to do."""

import difflib
import errno
from collections.abc import Iterable

OUT_OF_MEMORY = (
    *("memoryerror", "out of memory", "outofmemory", "resource_exhausted", "resourceexhausted", "bad_alloc"),
    *("failed to map segment", "can't start new thread"),  # of what loads a library, or starts a thread
)
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
LESS_MEMORY = "try a smaller batch_size or image_size, or less at once (--cores, --workers)"


class LungkerasError(Exception):
    """The base of all; the command line prints its sentence without a traceback and exits with 1."""


class SourceError(LungkerasError):
    """A source folder does not hold the dataset."""


class ScanError(LungkerasError):
    """One file is not a scan that can be prepared; callers quarantine it."""


class ParamsError(LungkerasError):
    """A params file, or a value in it, is invalid."""


class FolderError(LungkerasError):
    """A folder can't be written to: no room, no right, or another process at work in it."""


class RunError(LungkerasError):
    """A run, a prepared dataset or a model file is missing, unfinished or broken."""


class TableError(LungkerasError):
    """A table of predictions, labels or records from outside is invalid."""


class Refused(ValueError):
    """Why a file from outside is not opened, in a few words; callers say which file it is."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A question that offers the known name closest to a mistyped one, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def memory_ran_out(error: Exception) -> bool:
    """Whether an error means that memory ran out, in the words of Python, the system or a backend."""
    words = f"{type(error).__name__} {error}".lower()
    return getattr(error, "errno", None) == errno.ENOMEM or any(phrase in words for phrase in OUT_OF_MEMORY)
