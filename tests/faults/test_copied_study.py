"""A copied study is a stranger's: whatever is planted in it, commands say a sentence, and run and follow nothing."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_study import small_study

from lungkeras import cli

RUN = "pneumonia-mobilenet_v3_large-random"
ESCAPES = "\x1b[2J\a\nlungkeras: all is well"


def plant(results: Path, prepared: Path, outside: Path, name: str) -> None:
    run = results / "runs" / RUN
    run.mkdir(parents=True)
    prepared.mkdir(parents=True)
    match name:
        case "links":
            for link in (results / ".lock", results / "status.json", run / "best.keras", prepared / "train.npy"):
                link.symlink_to(outside)
        case "nested notes":
            for note in (results / "status.json", results / "fingerprint.json", run / "metrics.json",
                         run / "fingerprint.json", prepared / "statistics.json"):  # fmt: skip
                note.write_text("[" * 100_000)
        case "notes of another shape":
            for note in (results / "status.json", results / "fingerprint.json", run / "metrics.json",
                         run / "fingerprint.json", prepared / "statistics.json"):  # fmt: skip
                note.write_text(json.dumps([ESCAPES, {"files": 1}]))
        case "names that lead outside":
            files = {f"../../../{outside.name}": "0", ESCAPES: "0", str(outside): "0"}
            (prepared / "statistics.json").write_text(
                json.dumps({"files": files, "made_from": files, "fingerprint": "0"})
            )
            (run / "fingerprint.json").write_text(json.dumps({"results": files, "made_from": [ESCAPES]}))
            (run / "metrics.json").write_text(json.dumps({"classes": [ESCAPES], "task": ESCAPES}))
        case "tables that fill memory":
            frame = pd.DataFrame({"a": np.zeros(30_000_000, np.int8)})
            for file in (prepared / "records.parquet", run / "predictions.parquet"):
                frame.to_parquet(file)
            (prepared / "statistics.json").write_text("{}")
        case "somebody's files":
            (results / "runs" / "app").mkdir()
            for file in ("params.yaml", "main.py", ".env"):
                (results / "runs" / "app" / file).write_text("theirs")
            (results / "runs" / "app-alone").mkdir()
            (results / "runs" / "app-alone" / "params.yaml").write_text("image: nginx")
            (results / "runs" / "app-exported" / "export").mkdir(parents=True)
            (results / "runs" / "app-exported" / "params.yaml").write_text("dataset: covid\nbackbone: resnet34")
            (results / "runs" / "app-exported" / "export" / "letter.txt").write_text("theirs")
        case "notebooks":
            (results / "notebooks").mkdir()
            cell = {"cell_type": "code", "outputs": [{"output_type": "error", "ename": ESCAPES, "evalue": ESCAPES}]}
            held = json.dumps({"cells": [cell, 1, None]})
            (results / "notebooks" / f"02_training-{RUN}.failed.ipynb").write_text(held)
            (results / "notebooks" / ".running-03_evaluation.ipynb").symlink_to(outside)


@pytest.mark.faults
@pytest.mark.parametrize(
    "name",
    [
        "links",
        "nested notes",
        "notes of another shape",
        "names that lead outside",
        "tables that fill memory",
        "somebody's files",
        "notebooks",
    ],
)
def test_what_is_planted_in_a_copied_study_does_nothing(name, tmp_path, capfd, injected):
    study, results = small_study(tmp_path, RUN)
    outside = tmp_path / "outside"
    outside.write_text("somebody's")
    plant(results, tmp_path / "prepared" / "pneumonia", outside, name)
    theirs = set((results / "runs").rglob("app*/*"))
    for command in (
        ["status", str(study)],
        ["clean", str(study), "--unnamed", "--yes"],
        ["report", str(study), "--dry-run"],
    ):
        assert cli.main(command) in (0, 1)
        said, wrong = capfd.readouterr()
        assert "Traceback" not in said + wrong and "\x1b" not in said + wrong, (command, said, wrong)
        assert not [line for line in (said + wrong).splitlines() if line.startswith("lungkeras: all is well")]
        assert wrong.count("lungkeras: ") <= 1
    assert outside.read_text() == "somebody's" and theirs == set((results / "runs").rglob("app*/*"))
    injected("copied studies in which something is planted", 1)
