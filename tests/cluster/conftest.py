"""A study that is small enough for a test of a cluster, and how it is started."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parent.parent.parent
RUNS = ("pneumonia-mobilenet_v3_large-random", "pneumonia-resnet34-random")


class Study:
    """Two runs of one dataset, few scans, one epoch; the first is to be killed."""

    killed = RUNS[0]

    def __init__(self, root: Path):
        self.params, self.results, self.log = root / "small", root / "results", root / "log.txt"
        self.params.mkdir()
        shared = {"source": str(root / "sources"), "prepared": str(root / "prepared")}
        shared |= {"runs": str(self.results / "runs"), "title": "A small study on a cluster"}
        shared |= {"scans": 48, "image_size": 32, "epochs": 1, "batch_size": 8, "batch_norm_momentum": 0.9}
        (self.params / "study.yaml").write_text(yaml.safe_dump(shared))
        for run in RUNS:
            dataset, backbone, _ = run.split("-")
            (self.params / f"{run}.yaml").write_text(yaml.safe_dump({"dataset": dataset, "backbone": backbone}))

    @contextmanager
    def started(self, profiles: list[str], environment: dict) -> Iterator[subprocess.Popen]:
        """`lungkeras report` by these profiles, stopped at the end of the block; what it prints goes to `log`."""
        command = [sys.executable, "-m", "lungkeras", "report", str(self.params)]
        command += [word for profile in profiles for word in ("--profile", profile)]
        with self.log.open("w") as log:
            report = subprocess.Popen(
                command, cwd=CHECKOUT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            yield report
        finally:
            if report.poll() is None:
                os.killpg(report.pid, signal.SIGTERM)
                report.wait()

    def check(self) -> str:
        """That the report is complete, and would not be made again; returns what was printed, and prints its end."""
        text = self.log.read_text()
        print("\n".join(text.splitlines()[-40:]))
        assert set(pd.read_csv(self.results / "tables" / "table_3.csv")["run"]) == set(RUNS)
        assert (self.results / "report.html").is_file()
        assert text.rstrip().endswith(f"{self.results / 'report.html'} is complete")
        again = [sys.executable, "-m", "lungkeras", "report", str(self.params), "--dry-run"]
        listed = subprocess.run(again, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        assert "Nothing to be done" in listed.stdout + listed.stderr
        return text


@pytest.fixture
def study(tmp_path) -> Study:
    return Study(tmp_path)
