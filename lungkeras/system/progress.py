"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator

from lungkeras.system.text import say

SECONDS_BETWEEN_LINES = 10.0


def progress(iterable: Iterable, *, total: int | None = None, description: str = "") -> Iterator:
    """Yields the items of `iterable`, and shows on stderr how far it has come."""
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    if sys.stderr.isatty():
        from tqdm.auto import tqdm

        yield from tqdm(iterable, total=total, desc=description, leave=False)
        return
    started = last_line = time.monotonic()
    for count, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - last_line >= SECONDS_BETWEEN_LINES:
            last_line = now
            say(f"{description}: {count} of {total or '?'} ({now - started:.0f} s)", file=sys.stderr)
