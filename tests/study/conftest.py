"""The finished study that tests of freshness and of cleaning change."""

from pathlib import Path

import pytest
from finished_study import copy_of, finished_study


@pytest.fixture(scope="session")
def original(phantom_source, tmp_path_factory) -> Path:
    return finished_study(tmp_path_factory.mktemp("original"), phantom_source)


@pytest.fixture
def copied(original, tmp_path) -> Path:
    return copy_of(original, tmp_path)
