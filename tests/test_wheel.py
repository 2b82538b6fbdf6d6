"""The wheel: it holds all that a study needs, and a study starts from it in an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_study import small_study

CHECKOUT = Path(__file__).resolve().parents[1]
BUILT_FROM = ("lungkeras", "params", "notebooks", "Snakefile", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md")
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy of the project."""
    if not (CHECKOUT / "pyproject.toml").is_file():
        pytest.skip("no pyproject.toml beside the package: it runs from an installed copy")
    pytest.importorskip("setuptools", minversion="77", reason='needs lungkeras[test]: pip install ".[test]"')
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*BUILT_FROM, "LICENSE"):
        source = CHECKOUT / name
        shutil.copytree(source, folder / name, ignore=IGNORED) if source.is_dir() else shutil.copy(source, folder)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder / "dist")]
    command = [sys.executable, "-P", "-m", "pip", "wheel", *options, str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder into which pip has installed the wheel; what it depends on is this environment's."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*command, "--target", str(folder), str(wheel)], check=True)
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`lungkeras` as installed there, typed in a folder."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-m", "lungkeras", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, env=environment)


def test_the_wheel_holds_the_package_and_the_project(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        scripts = [f.filename for f in archive.infolist() if f.external_attr >> 16 & 0o100 and "/k" in f.filename]
    for top in ("lungkeras", "params", "notebooks"):
        files = {file for file in (CHECKOUT / top).rglob("*") if file.is_file() and "__pycache__" not in file.parts}
        prefix = "" if top == "lungkeras" else "lungkeras_project/"
        names = {prefix + file.relative_to(CHECKOUT).as_posix() for file in files if ".ipynb_check" not in str(file)}
        assert names <= held, sorted(names - held)
    assert "lungkeras_project/Snakefile" in held
    assert len(scripts) == 3, "the scripts of the profile kubernetes can be started"
    assert not [name for name in held if name.startswith(("tests", "benchmarks", "reports", "sources"))]


def test_the_demo_starts_in_an_empty_folder(installed, tmp_path):
    done = run(installed, tmp_path, "report", "demo", "--dry-run")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "Copied to" in said and "covid-efficientnet_b1-transfer" in said
    there = {path.name for path in tmp_path.iterdir()}
    assert {"Snakefile", "notebooks", "params"} <= there and not there & {"reports", "sources", "prepared"}


@pytest.mark.slow
def test_a_small_study_is_made_in_an_empty_folder(installed, tmp_path):
    study, results = small_study(tmp_path, "pneumonia-mobilenet*")
    project = tmp_path / "project"
    project.mkdir()
    done = run(installed, project, "report", str(study))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (results / "report.html").stat().st_size > 100_000
    made = json.loads((results / "runs/pneumonia-mobilenet_v3_large-random/fingerprint.json").read_text())
    assert made["made_from"]["code"]
    again = run(installed, project, "report", str(study))
    assert again.returncode == 0 and "Copied to" not in again.stderr
