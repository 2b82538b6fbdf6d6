"""The demo in a small cut, and the command that makes it."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

PARAMS = Path(__file__).resolve().parents[1] / "params" / "demo"


def report(folder: Path, *more: str, before: tuple = (), **options) -> subprocess.CompletedProcess:
    """Makes the report of a study; `options` are those of subprocess, and `before` is what the command begins with."""
    command = [sys.executable, "-m", "lungkeras", "report", str(folder), "--cores", str(min(os.cpu_count(), 4)), *more]
    return subprocess.run([*before, *command], check=False, capture_output=True, text=True, **options)


def small_study(folder: Path, runs: str = "*") -> tuple[Path, Path]:
    """The demo's params in a small cut, with the runs that a pattern names: the folders of params and of results."""
    study, results = folder / "small", folder / "results"
    study.mkdir()
    for file in PARAMS.glob(f"{runs}.yaml"):
        own = yaml.safe_load(file.read_text()) | {"epochs": 1}
        (study / file.name).write_text(yaml.safe_dump(own))
    shared = yaml.safe_load((PARAMS / "study.yaml").read_text())
    shared |= {"source": str(folder / "sources"), "prepared": str(folder / "prepared"), "runs": str(results / "runs")}
    shared |= {"scans": 48, "image_size": 32, "epochs": 1, "batch_size": 8}
    (study / "study.yaml").write_text(yaml.safe_dump(shared))
    return study, results
