"""A small study by the Slurm profile, on a real Slurm of one node: a job is killed by hand, the report is complete.

make test-cluster; needs Debian's slurm-wlm and munge, and the extra [slurm].
"""

import importlib.util
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

SLURM = Path(__file__).with_name("slurm.sh")
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


def running(run: str, environment: dict) -> str | None:
    """The number of the job that trains a run, None while Slurm has not started it."""
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
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "config.yaml").write_text("slurm-init-seconds-before-status-checks: 5\nlatency-wait: 10\n")

    # Long enough for a checkpoint, which is written a minute after the start.
    params = study.params / f"{study.killed}.yaml"
    params.write_text(params.read_text() + "epochs: 200\n")
    checkpoint = study.results / "runs" / study.killed / "checkpoint.npz"

    profiles = ["params/profiles/slurm", "params/profiles/gpu", str(tmp_path / "quick")]
    with study.started(profiles, slurm | {"HOME": str(tmp_path / "home")}) as report:
        while not checkpoint.is_file():
            assert report.poll() is None, study.log.read_text()[-5000:]
            time.sleep(1)
        number = running(study.killed, slurm)
        subprocess.run(["scancel", number], env=slurm, check=True)
        assert report.wait(timeout=1500) == 0, study.log.read_text()[-5000:]
    jobs = re.findall(rf"SLURM jobid (\d+) \(log: \S*rule_train/{study.killed}/", study.check())
    assert len(jobs) == 2, jobs
    assert jobs[0] == number
    page = (study.results / "notebooks" / f"02_training-{study.killed}.ipynb").read_text()
    epochs = [int(epoch) for epoch in re.findall(r"epoch (\d+)/200: loss", page)]
    assert epochs[0] > 1, "the second job began anew instead of at the checkpoint"
    assert epochs[-1] == 200
    history = pd.read_csv(study.results / "runs" / study.killed / "history.csv")
    assert list(history["epoch"]) == list(range(1, 201))
