"""A copy of a finished study, trained for real: recognised whole, and trained again only where it changed.

make test-sharing
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

PNEUMONIA, COVID = "pneumonia-mobilenet_v3_large-random", "covid-mobilenet_v3_large-random"
pytestmark = pytest.mark.sharing


def write_params(root: Path) -> None:
    (root / "small").mkdir(parents=True)
    shared = {"source": str(root / "sources"), "prepared": str(root / "prepared"), "runs": str(root / "results/runs")}
    shared |= {"scans": 48, "image_size": 32, "epochs": 1, "batch_size": 8, "batch_norm_momentum": 0.9}
    (root / "small" / "study.yaml").write_text(yaml.safe_dump(shared))
    for run in (PNEUMONIA, COVID):
        dataset, backbone, _ = run.split("-")
        (root / "small" / f"{run}.yaml").write_text(yaml.safe_dump({"dataset": dataset, "backbone": backbone}))


def report(root: Path) -> list[str]:
    """Makes the report, and returns the lines of the steps that it took."""
    command = [sys.executable, "-m", "lungkeras", "report", str(root / "small")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return sorted(line.strip().partition(" (")[0] for line in done.stdout.splitlines() if line.startswith("  "))


READ = ["drew features and heat maps", "evaluated the runs", "wrote the report"]


def test_a_copied_study_is_recognised_and_a_changed_one_is_trained_where_it_changed(tmp_path):
    mine, copy = tmp_path / "mine", tmp_path / "copy"
    write_params(mine)
    trained = [f"trained {COVID}", f"trained {PNEUMONIA}"]
    assert report(mine) == sorted([*READ, "prepared covid", "prepared pneumonia", *trained])
    assert report(mine) == []

    write_params(copy)
    for folder in ("prepared", "results"):
        shutil.copytree(mine / folder, copy / folder)
    for age, file in enumerate(sorted(copy.rglob("*"), reverse=True)):
        os.utime(file, (0, 1_000_000_000 - age))
    assert report(copy) == []

    # Prepared by another version of the code, to the same bytes: no run is trained for it.
    statistics = copy / "prepared" / "covid" / "statistics.json"
    recorded = json.loads(statistics.read_text())
    statistics.write_text(json.dumps(recorded | {"made_from": recorded["made_from"] | {"code": "another version"}}))
    assert report(copy) == ["prepared covid"]

    images = np.load(copy / "prepared" / "covid" / "train.npy", mmap_mode="r+")
    images[0, 5, 7] ^= 1
    images.flush()
    assert report(copy) == sorted([*READ, f"trained {COVID}"])

    changed = copy / "small" / f"{PNEUMONIA}.yaml"
    changed.write_text(changed.read_text() + "seed: 1\n")
    assert report(copy) == sorted([*READ, f"trained {PNEUMONIA}"])
    assert report(copy) == []
