"""Python processes that this one starts, and that import the same lungkeras, wherever it is installed."""

import math
import os
import resource
import signal
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def variables(**more: str) -> dict[str, str]:
    """The environment of such a process: this one's, `more`, and a PYTHONPATH that begins with this package's.

    Modules are not searched for in the current folder: an empty entry would mean that folder.
    """
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | more | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def ending(status: int | None) -> str:
    """An exit status in words: SIGABRT, status 1.

    >>> ending(-6), ending(1)
    ('SIGABRT', 'status 1')
    """
    return signal.Signals(-status).name if status and status < 0 else f"status {status}"


def limit_memory(more: int) -> None:
    """Limits this process to this many more bytes, beyond which it gets MemoryError.

    Mapped files and shared memory do not count. Does nothing on a system without such a number (macOS).
    """
    status = Path("/proc/self/status")
    if status.is_file():
        held = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmData"))
        _lower(resource.RLIMIT_DATA, int(held) * 1024 + more)


def limit_seconds(more: int) -> None:
    """Limits this process to this many more seconds of CPU time, after which SIGXCPU ends it."""
    _lower(resource.RLIMIT_CPU, math.ceil(time.process_time()) + more)


def _lower(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
