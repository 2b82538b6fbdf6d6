"""What the tests share: the real scans where they are present, and small drawn sources."""

import functools
import os
from pathlib import Path

import pytest

import lungkeras  # noqa: F401  before Keras: it turns on what TensorFlow reads at its import

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """The folder of real scans: $LUNGKERAS_REAL_SCANS, or shared/xray beside the checkout."""
    folder = Path(os.environ.get("LUNGKERAS_REAL_SCANS", CHECKOUT.parent / "shared" / "xray"))
    if not folder.is_dir():
        pytest.skip(
            f"no real scans in {folder}: set LUNGKERAS_REAL_SCANS to a folder that holds kermany, covid and nih"
        )
    return folder


@pytest.fixture(scope="session")
def phantom_source(tmp_path_factory):
    """A function: dataset -> a folder with 60 drawn scans in the published layout."""
    from lungkeras.datasets.phantom import draw_source

    @functools.cache
    def draw(dataset: str) -> Path:
        return draw_source(dataset, tmp_path_factory.mktemp(f"source-{dataset}"), scans=60, seed=0)

    return draw


@pytest.fixture(scope="session")
def phantom_records(phantom_source):
    """A function: dataset -> the records of its drawn source."""
    from lungkeras.datasets import read_records

    return functools.cache(lambda dataset: read_records(dataset, phantom_source(dataset)))
