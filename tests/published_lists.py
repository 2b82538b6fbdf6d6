"""The label lists of published collections, as the package torchxrayvision carries them."""

import gzip
import importlib.util
from pathlib import Path

import pytest


def published_list(name: str) -> bytes:
    """The content of a list, unpacked; the test is skipped where the package is absent."""
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None:
        pytest.skip(f"{name} is in torchxrayvision: pip install --no-deps torchxrayvision==1.5.7 (29 MB)")
    content = Path(spec.submodule_search_locations[0], "data", name).read_bytes()
    return gzip.decompress(content) if name.endswith(".gz") else content
