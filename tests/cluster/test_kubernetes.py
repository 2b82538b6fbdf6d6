"""A small study by the Kubernetes profile, on a stand-in for kubectl that runs the pods' commands on this machine.

What stands between this and a cluster: images, volumes and the scheduling of pods. A job is deleted by hand.
"""

import importlib.util
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.cluster


def running(run: str, jobs: Path) -> Path | None:
    """The job that trains a run, once its pod has started."""
    for folder in jobs.iterdir():
        script = re.search(r'command: \[bash, "(.*)"\]', (folder / "job.yaml").read_text())[1]
        if not (folder / "status").exists() and f"train:run={run}" in Path(script).read_text():
            return folder
    return None


def test_a_job_deleted_by_hand_is_sent_again_and_the_report_is_complete(study, tmp_path):
    if not importlib.util.find_spec("snakemake_executor_plugin_cluster_generic"):
        pytest.skip("needs lungkeras[kubernetes]")
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    environment = os.environ | {"JOBS": str(jobs), "PATH": f"{HERE}:{os.environ['PATH']}"}
    environment |= {"LUNGKERAS_IMAGE": "none", "LUNGKERAS_CLAIM": "none", "LUNGKERAS_MOUNT": str(tmp_path)}
    with study.started(["params/profiles/kubernetes"], environment) as report:
        while not (job := running(study.killed, jobs)):
            assert report.poll() is None, study.log.read_text()[-5000:]
            time.sleep(1)
        time.sleep(5)
        subprocess.run(["kubectl", "delete", f"job.batch/{job.name}"], env=environment, check=True)
        assert report.wait(timeout=1500) == 0, study.log.read_text()[-5000:]
    text = study.check()
    assert f"external jobid 'job.batch/{job.name}'" in text
    assert text.count("Trying to restart job") == 1
    assert len(re.findall("Submitted job", text)) == 7, "six steps, one of them twice"
