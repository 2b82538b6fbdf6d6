"""A small study made again and again in one folder, its params changing: memory, open files and disk stay as they were.

make soak; python -m pytest -m soak -k cut -s for three rounds
"""

import os
import resource
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from small_study import PARAMS, small_study

from lungkeras import cli
from lungkeras.study.cleaning import size

CHECKOUT = PARAMS.parent.parent
RUN, OTHER = "pneumonia-mobilenet_v3_large-random", "covid-mobilenet_v3_large-random"
# What a round changes of the run, of the study, and whether a second run is named.
FIRST = ("as it is", {}, {}, False)
CHANGES = [
    FIRST,
    ("another seed", {"seed": 1}, {}, False),
    ("a second run", {"seed": 1}, {}, True),
    ("the second run gone, another title", {"seed": 1}, {"title": "Another title"}, False),
    ("another rate", {"learning_rate": 0.002}, {}, False),
    ("another size", {}, {"image_size": 40}, False),
    ("the second run again", {}, {}, True),
    ("smaller batches", {"batch_size": 4}, {}, False),
    ("two epochs", {"epochs": 2}, {}, False),
]
# What killed processes leave, in the folder of results.
LEFT = ("tables/.writing-a.csv", f"runs/{RUN}/.writing-b.keras", "notebooks/.running-05_report.ipynb",
        f"notebooks/02_training-{RUN}.failed.ipynb", f"runs/{RUN}/checkpoint.npz")  # fmt: skip
pytestmark = pytest.mark.soak


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of its own, whose records of Snakemake are its own too, as the working directory."""
    folder = tmp_path / "project"
    shutil.copytree(CHECKOUT / "notebooks", folder / "notebooks")
    shutil.copy(CHECKOUT / "Snakefile", folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    return folder


def memory() -> float:
    """What this process holds, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def largest_child() -> float:
    """The most that a process started from here, or from one of those, has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3


@pytest.mark.parametrize("rounds", [pytest.param(3, id="cut"), pytest.param(10, id="ten")])
def test_rounds_in_one_folder_keep_memory_open_files_and_disk_constant(rounds, project, capfd):
    study, results = small_study(project, RUN)
    shared = yaml.safe_load((study / "study.yaml").read_text())
    run = yaml.safe_load((study / f"{RUN}.yaml").read_text())

    def command(*arguments: str) -> list[str]:
        """Runs lungkeras in this process, and returns the lines of the steps that it took."""
        assert cli.main(list(arguments)) == 0
        return [line.strip() for line in capfd.readouterr().out.splitlines() if line.startswith("  ")]

    def write(of_run: dict, of_study: dict, second: bool) -> None:
        (study / "study.yaml").write_text(yaml.safe_dump(shared | of_study))
        (study / f"{RUN}.yaml").write_text(yaml.safe_dump(run | of_run))
        if second:
            shutil.copy(PARAMS / f"{OTHER}.yaml", study)
        else:
            (study / f"{OTHER}.yaml").unlink(missing_ok=True)

    def predictions() -> pd.DataFrame:
        return pd.read_parquet(results / "runs" / RUN / "predictions.parquet")

    rows, first = [], None
    for name, *changes in [*CHANGES[: rounds - 1], ("as it was", *FIRST[1:])]:
        started = time.monotonic()
        write(*changes)
        steps = command("report", str(study))
        seconds = time.monotonic() - started
        first = predictions() if first is None else first
        for left in LEFT:
            (results / left).write_bytes(bytes(100_000))
        before = size(project)
        command("clean", str(study), "--yes", "--unnamed")
        assert not [left for left in LEFT if (results / left).exists()]
        rows.append(
            {
                "round": name,
                "second run": changes[-1],
                "steps": len(steps),
                "seconds": round(seconds),
                "disk MB": before / 1e6,
                "cleaned MB": size(project) / 1e6,
                "memory MB": memory(),
                "largest child MB": largest_child(),
                "open files": len(os.listdir("/proc/self/fd")),
            }
        )
        with capfd.disabled():
            print("\n" + pd.DataFrame(rows).round(1).to_string(index=False), flush=True)

    pd.testing.assert_frame_equal(predictions(), first, check_exact=True)
    write(*FIRST[1:])
    assert command("report", str(study)) == [], "what was removed is needed by nothing"

    table = pd.DataFrame(rows)
    alike = table[~table["second run"]]
    assert alike["cleaned MB"].iloc[-1] < 1.05 * alike["cleaned MB"].iloc[0]
    assert alike["cleaned MB"].max() < 1.25 * alike["cleaned MB"].min()
    assert table["memory MB"].iloc[-1] < table["memory MB"].iloc[1] + 30
    assert table["largest child MB"].iloc[-1] < 1.15 * table["largest child MB"].iloc[0]
    assert (table["open files"] == table["open files"][0]).all()
