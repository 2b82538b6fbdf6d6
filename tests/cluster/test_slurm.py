"""A small study by the Slurm profile, on a real Slurm of one node: a job is killed by hand, the report is complete.

make test-cluster; needs Debian's slurm-wlm and munge, and the extra [slurm].
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SLURM = Path(__file__).with_name("slurm.sh")
KILLED, OTHER = "pneumonia-mobilenet_v3_large-random", "pneumonia-resnet34-random"
pytestmark = pytest.mark.cluster


@pytest.fixture
def slurm(tmp_path):
    """The environment of a Slurm that runs as long as the test."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)]
    if missing or not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        pytest.skip("needs Debian's slurm-wlm and munge, and lungkeras[slurm]")
    folder = tmp_path / "slurm"
    environment = os.environ | {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    subprocess.run([SLURM, "start", folder], check=True)
    try:
        yield environment
    finally:
        subprocess.run(["scancel", "--user", str(os.getuid())], env=environment, check=False)
        subprocess.run([SLURM, "stop", folder], check=True)


@pytest.fixture
def study(tmp_path):
    """Two runs of one dataset, few scans, one epoch; its results lie in `results`."""
    folder = tmp_path / "small"
    folder.mkdir()
    shared = {"source": str(tmp_path / "sources"), "prepared": str(tmp_path / "prepared")}
    shared |= {"runs": str(tmp_path / "results" / "runs"), "title": "A small study on Slurm"}
    shared |= {"scans": 48, "image_size": 32, "epochs": 1, "batch_size": 8, "batch_norm_momentum": 0.9}
    (folder / "study.yaml").write_text(yaml.safe_dump(shared))
    for run in (KILLED, OTHER):
        dataset, backbone, _ = run.split("-")
        (folder / f"{run}.yaml").write_text(yaml.safe_dump({"dataset": dataset, "backbone": backbone}))
    return folder


def running(run: str, environment: dict) -> str | None:
    """The number of the job that trains a run, once Slurm has started it."""
    command = ["squeue", "--noheader", "--states=running", "--format=%i %k"]
    jobs = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    for line in jobs.splitlines():
        number, _, comment = line.partition(" ")
        if comment.startswith("rule_train") and run in comment:
            return number
    return None


def test_a_job_killed_by_hand_is_sent_again_and_the_report_is_complete(slurm, study, tmp_path):
    # A user's own kernel of the same name, of another interpreter: the environment's must be taken.
    decoy = tmp_path / "home" / ".local" / "share" / "jupyter" / "kernels" / "python3"
    decoy.mkdir(parents=True)
    (decoy / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "Python 3", "language": "python"}')
    quick = tmp_path / "quick"
    quick.mkdir()
    (quick / "config.yaml").write_text("slurm-init-seconds-before-status-checks: 5\nlatency-wait: 10\n")
    profiles = ["--profile", "params/profiles/slurm", "--profile", "params/profiles/gpu", "--profile", str(quick)]
    command = [sys.executable, "-m", "lungkeras", "report", str(study), *profiles]
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        environment = slurm | {"HOME": str(tmp_path / "home")}
        report = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=file, stderr=subprocess.STDOUT)
        while not (number := running(KILLED, slurm)):
            assert report.poll() is None, log.read_text()[-5000:]
            time.sleep(1)
        time.sleep(5)
        subprocess.run(["scancel", number], env=slurm, check=True)
        assert report.wait(timeout=1500) == 0, log.read_text()[-5000:]
    text = log.read_text()
    print("\n".join(text.splitlines()[-25:]))

    first, second = re.findall(rf"SLURM jobid (\d+) \(log: \S*rule_train/{KILLED}/", text)
    assert first == number
    assert second != number
    results = tmp_path / "results"
    assert set(pd.read_csv(results / "tables" / "table_3.csv")["run"]) == {KILLED, OTHER}
    assert (results / "report.html").is_file()
    assert text.rstrip().endswith(f"{results / 'report.html'} is complete")
