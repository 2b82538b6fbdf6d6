"""A small source in the layout of NIH."""

import pytest
from layouts import write_xray8


@pytest.fixture
def xray8_source(tmp_path):
    findings = {
        "00000001_000.png": "Cardiomegaly",
        "00000001_001.png": "Cardiomegaly|Effusion",
        "00000002_000.png": "Effusion|Mass",
        "00000003_000.png": "No Finding",
        "00000003_001.png": "No Finding",
        "00000003_002.png": "Nodule",
        "00000004_000.png": "Mass",
    }
    return write_xray8(tmp_path / "nih", findings, absent=("00000003_000.png", "00000004_000.png"))
