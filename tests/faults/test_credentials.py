"""The keys of Kaggle, in the environment and in the user's folder, stand in nothing that is printed or written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CANARY = "c4n4ry-0123456789abcdef"
NAMES = ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN")
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """An environment with keys everywhere, whose network leads nowhere."""
    kaggle = tmp_path / "home" / ".kaggle"
    kaggle.mkdir(parents=True)
    (kaggle / "kaggle.json").write_text(json.dumps({"username": CANARY, "key": CANARY}))
    (kaggle / "access_token").write_text(CANARY)
    nowhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), f"http://{CANARY}@127.0.0.1:9")
    return os.environ | dict.fromkeys(NAMES, CANARY) | nowhere | {"HOME": str(tmp_path / "home"), "NO_PROXY": ""}


def run(*arguments: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lungkeras", *arguments]
    environment = environment | {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=900, env=environment, cwd=folder, check=False
    )


def holders(folder: Path) -> list[str]:
    """The files below a folder that hold the canary, those in its home apart."""
    files = [file for file in folder.rglob("*") if file.is_file() and "home" not in file.relative_to(folder).parts]
    return [str(file) for file in files if CANARY.encode() in file.read_bytes()]


def test_a_failed_download_reveals_no_key(environment, tmp_path):
    done = run("fetch", "covid", "--to", str(tmp_path / "covid"), environment=environment, folder=tmp_path)
    assert done.returncode == 1 and done.stderr.count("lungkeras: covid: the download of") == 1
    assert CANARY not in done.stdout + done.stderr
    assert not holders(tmp_path) and not (tmp_path / "covid").exists()


def test_the_record_of_the_machine_holds_no_key(environment, monkeypatch):
    from lungkeras.system import machine

    for name in NAMES:
        monkeypatch.setenv(name, CANARY)
    assert CANARY not in json.dumps(machine.environment(), default=str)


@pytest.mark.faults
def test_a_whole_study_holds_no_key(environment, tmp_path):
    study = tmp_path / "params" / "tiny"
    study.mkdir(parents=True)
    shared = {
        "title": "Tiny", "source": str(tmp_path / "sources"), "prepared": str(tmp_path / "prepared"),
        "runs": str(tmp_path / "reports" / "runs"), "scans": 30, "image_size": 32, "epochs": 1,
    }  # fmt: skip
    (study / "study.yaml").write_text(json.dumps(shared))
    (study / "covid-mobilenet_v3_large-random.yaml").write_text('{"dataset": "covid"}')
    done = run("report", str(study), "--cores", "2", environment=environment, folder=CHECKOUT)
    assert CANARY not in done.stdout + done.stderr
    assert not holders(tmp_path)
    assert list((tmp_path / "reports").rglob("01_data_preparation-covid*.ipynb")), done.stderr
    assert list((tmp_path / "reports").rglob("environment.json")), done.stderr
