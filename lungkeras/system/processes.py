"""Python processes that this one starts, and that import the same lungkeras, wherever it lies."""

import os
import signal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def variables(**more: str) -> dict[str, str]:
    """The environment of such a process: this one's, `more`, and a PYTHONPATH that begins with this package's."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | more | {"PYTHONPATH": os.pathsep.join(paths)}


def ending(status: int | None) -> str:
    """An exit status in words: SIGABRT, status 1.

    >>> ending(-6), ending(1)
    ('SIGABRT', 'status 1')
    """
    return signal.Signals(-status).name if status and status < 0 else f"status {status}"
