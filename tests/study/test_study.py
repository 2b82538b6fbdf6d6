"""The whole study in a small cut: the same graph and the same 17 runs, few drawn scans, one epoch."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from interval_columns import zero_width
from small_study import report, small_study

from lungkeras.system.backends import default_backend

pytestmark = pytest.mark.study


def trained(study: Path, folder: Path, backend: str, **changes) -> Path:
    """Trains the study's only run with the command line, on as many threads as the study; returns the run's folder."""
    folder.mkdir()
    (folder / "changes.yaml").write_text(yaml.safe_dump({"runs": str(folder), **changes}))
    (run,) = [file for file in study.glob("*.yaml") if file.name != "study.yaml"]
    files = [word for file in (study / "study.yaml", run, folder / "changes.yaml") for word in ("--params", str(file))]
    threads = str(min(os.cpu_count(), 4))
    limits = {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": "2", "OMP_NUM_THREADS": threads}
    command = [sys.executable, "-m", "lungkeras", "train", "--backend", backend, *files]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | limits)
    return folder / run.stem


def test_one_run_passes_every_notebook_on_the_requested_backend(tmp_path):
    backend = default_backend()
    study, results = small_study(tmp_path, "pneumonia-mobilenet_v3_large-random")
    done = report(study, "--backend", backend)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = results / "runs" / "pneumonia-mobilenet_v3_large-random"
    assert yaml.safe_load((run / "params.yaml").read_text())["backend"] == backend
    assert json.loads((run / "environment.json").read_text())["backend"] == backend
    assert all((results / f"figures/figure_{number:02d}.png").is_file() for number in (1, 2, 3, 5, 7))
    assert "pneumonia-mobilenet_v3_large-random" in (results / "report.html").read_text(encoding="utf-8")
    assert (run / "model_card.md").read_text(encoding="utf-8").startswith("# Model card: pneumonia-mobilenet")
    tables = ("failures", "failure_counts", "subgroups", "external_scans", "external", "transfer", "checklists")
    assert all((results / f"tables/{name}.csv").is_file() for name in tables)
    assert not zero_width(results / "tables")
    again = report(study, "--backend", backend)
    assert "trained" not in again.stdout

    # Trained anew by hand, elsewhere: the same to the last bit; with another seed, something else.
    anew, other = trained(study, tmp_path / "anew", backend), trained(study, tmp_path / "other", backend, seed=1)
    predictions = pd.read_parquet(run / "predictions.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(anew / "predictions.parquet"), predictions, check_exact=True)
    assert not pd.read_parquet(other / "predictions.parquet").equals(predictions)


def test_one_command_makes_the_whole_report_and_a_second_one_only_what_changed(tmp_path):
    study, results = small_study(tmp_path)
    done = report(study)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table = pd.read_csv(results / "tables" / "table_3.csv")
    columns = ["dataset", "backbone", "weights", "macro_f1", "seconds_per_epoch", "best_epoch", "published_macro_f1"]
    assert len(table) == 17
    assert set(columns) <= set(table.columns)
    assert table["published_macro_f1"].notna().sum() == 12
    assert (table["macro_f1_low"] <= table["macro_f1"]).all() and (table["macro_f1"] <= table["macro_f1_high"]).all()
    assert not zero_width(results / "tables")
    assert pd.read_csv(results / "tables" / "transfer.csv")["copies"].notna().all()
    ledger = pd.read_csv(results / "tables" / "claims.csv")
    assert len(ledger) == 40 and ledger["id"].is_unique
    assert set(ledger["verdict"]) <= {"holds", "fails", "cannot tell", "not run"}
    assert set(ledger["holds_in_paper"]) == {"true", "false", "not checkable"}
    expected = [f"figures/figure_{number:02d}.png" for number in range(1, 11)]
    expected += [f"tables/table_{number}.csv" for number in (1, 2, 3)]
    assert not [name for name in expected if not (results / name).is_file()]
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "These are drawings" in page
    for run in table["run"]:
        assert (results / f"notebooks/02_training-{run}.html").is_file()

    started = time.monotonic()
    again = report(study)
    assert again.returncode == 0, again.stderr
    assert "trained" not in again.stdout
    assert time.monotonic() - started < 60

    changed = study / "xray8-mobilenet_v3_large-random.yaml"
    changed.write_text(changed.read_text() + "seed: 1\n")
    before = {file: file.stat().st_mtime_ns for file in results.glob("runs/*/metrics.json")}
    assert report(study).returncode == 0
    retrained = {file.parent.name for file, stamp in before.items() if file.stat().st_mtime_ns != stamp}
    assert retrained == {"xray8-mobilenet_v3_large-random"}
