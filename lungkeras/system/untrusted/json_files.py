"""Untrusted JSON files: no larger and no more deeply nested than what lungkeras writes."""

import json
from collections.abc import Callable
from pathlib import Path

from lungkeras.system.untrusted.plain_files import size_of

MOST_BYTES = 256 * 2**20  # of a notebook with its pictures
MOST_ITEMS = 2_000_000  # objects, lists and entries; each takes a hundred bytes of memory


def read(file: Path) -> object:
    """The data of a JSON file in UTF-8. Raises OSError, or ValueError if it is invalid or beyond the limits above."""
    if (size := size_of(file)) > MOST_BYTES:
        raise ValueError(f"{file.name} is larger than {MOST_BYTES // 2**20} MB: {size:,} bytes")
    return loads(file.read_bytes())


def loads(text: str | bytes, *, object_pairs_hook: Callable | None = None) -> object:
    """`json.loads` of UTF-8. Raises ValueError if it is invalid or beyond the limits above."""
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else bytes(text)
    if len(data) > MOST_BYTES or sum(map(data.count, (b",", b"[", b"{"))) > MOST_ITEMS:
        raise ValueError("it holds more than any file of lungkeras")
    try:
        return json.loads(data.decode(), object_pairs_hook=object_pairs_hook)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
