"""The profiles for clusters: Snakemake takes their settings, and what a step asks for reaches the cluster."""

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
PROFILES = CHECKOUT / "params" / "profiles"
KUBERNETES = PROFILES / "kubernetes"


@pytest.mark.parametrize(("profile", "plugin"), [("slurm", "slurm"), ("kubernetes", "cluster_generic")])
def test_snakemake_takes_a_profile_with_gpus_for_training_and_pictures_alone(profile, plugin):
    if not importlib.util.find_spec(f"snakemake_executor_plugin_{plugin}"):
        pytest.skip(f"needs lungkeras[{profile}]")
    profiles = ["--profile", f"params/profiles/{profile}", "--profile", "params/profiles/gpu"]
    command = [sys.executable, "-m", "lungkeras", "report", "paper", "--dry-run", *profiles]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    asked = {}
    for rule, resources in re.findall(r"^rule (\w+):$.*?resources: ([^\n]*)$", done.stdout + done.stderr, re.M | re.S):
        asked[rule] = dict(pair.split("=") for pair in resources.split(", ") if "=" in pair)
    assert set(asked) == {"prepare", "train", "evaluate", "visualize", "report"}
    assert asked["train"]["mem_mb"] == "32000"
    assert asked["train"]["runtime"] == str(24 * 60)
    assert {rule for rule, held in asked.items() if held.get("gpu", "0") != "0"} == {"train", "visualize"}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """kubectl, as the profile's scripts find it: the stand-in, with a folder for its jobs."""
    (tmp_path / "jobs").mkdir()
    monkeypatch.setenv("JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("PATH", f"{CHECKOUT / 'tests' / 'cluster'}:{os.environ['PATH']}")
    for key, value in {"IMAGE": "lungkeras:1", "CLAIM": "shared", "MOUNT": "/shared"}.items():
        monkeypatch.setenv(f"LUNGKERAS_{key}", value)
    return tmp_path


def call(script: str, *arguments) -> str:
    done = subprocess.run([KUBERNETES / script, *map(str, arguments)], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def ended(job: str) -> str:
    for _ in range(100):
        if (status := call("status", job)) != "running":
            return status
        time.sleep(0.05)
    return "running"


def test_a_step_becomes_a_job_of_kubernetes_with_its_share(stand_in):
    (stand_in / "step.sh").write_text("true\n")
    name = call("submit", 4, 32000, 90, 1, stand_in / "step.sh")
    job = yaml.safe_load((stand_in / "jobs" / name.removeprefix("job.batch/") / "job.yaml").read_text())
    assert (job["apiVersion"], job["kind"], job["spec"]["activeDeadlineSeconds"]) == ("batch/v1", "Job", 5400)
    pod = job["spec"]["template"]["spec"]
    step = pod["containers"][0]
    assert step["command"] == ["bash", str(stand_in / "step.sh")]
    share = {"cpu": "4", "memory": "32000M", "nvidia.com/gpu": "1"}
    assert step["resources"] == {"requests": share, "limits": share}
    assert step["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
    assert pod["volumes"] == [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}]
    name = call("submit", 1, 2000, 60, 0, stand_in / "step.sh")
    assert "nvidia" not in (stand_in / "jobs" / name.removeprefix("job.batch/") / "job.yaml").read_text()


def test_the_status_of_a_job_is_given_in_snakemakes_words(stand_in, monkeypatch):
    for script, expected in (("true", "success"), ("exit 3", "failed"), ("sleep 30", "running")):
        (stand_in / "step.sh").write_text(script + "\n")
        name = call("submit", 1, 100, 1, 0, stand_in / "step.sh")
        assert (call("status", name) if expected == "running" else ended(name)) == expected
    call("cancel", name)
    assert call("status", name) == "failed", "deleted by hand"
    (stand_in / "kubectl").write_text("#!/bin/sh\nexit 1\n")
    (stand_in / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in}:{os.environ['PATH']}")
    assert call("status", name) == "running", "no answer of the server is no end of a job"
