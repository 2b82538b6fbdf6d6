"""What the tests share: the real scans where they are present, small drawn sources, and what runs on every backend."""

import functools
import os
import re
from pathlib import Path

import pytest

import lungkeras  # noqa: F401  before Keras: it turns on what TensorFlow reads at its import
from lungkeras.models.architectures import TITLES

CHECKOUT = Path(__file__).resolve().parent.parent
IMPORTS_KERAS = re.compile(r"^ *(from|import) (.*, )?keras\b", re.MULTILINE)
COSTLY = {"costly", "study", "sharing", "cluster", "parity", "faults", "soak", "probes", "slow"}


@functools.cache
def imports_keras(module: Path) -> bool:
    """Whether a test module names Keras; what the others test is the same on every backend."""
    return bool(IMPORTS_KERAS.search(module.read_text(encoding="utf-8")))


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(items):
    """Marks as `backend` what CI repeats on JAX and PyTorch: the tests of modules that import Keras.

    Cut by cost, not by kind: of a test that is repeated for each backbone the first, ResNet-34 where it is among them,
    and none that a mark calls slow or costly.
    """
    seen = set()
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        others = [(name, str(value)) for name, value in params.items() if str(value) not in TITLES]
        test = (item.path, item.originalname, *others)
        if imports_keras(item.path) and test not in seen and not COSTLY & {mark.name for mark in item.iter_markers()}:
            item.add_marker("backend")
        seen.add(test)


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
    from lungkeras.datasets.phantoms.phantom import draw_source

    @functools.cache
    def draw(dataset: str) -> Path:
        return draw_source(dataset, tmp_path_factory.mktemp(f"source-{dataset}"), scans=60, seed=0)

    return draw


@pytest.fixture(scope="session")
def phantom_records(phantom_source):
    """A function: dataset -> the records of its drawn source."""
    from lungkeras.datasets.registry import read_records

    return functools.cache(lambda dataset: read_records(dataset, phantom_source(dataset)))
