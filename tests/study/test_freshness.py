"""A study goes by hashes: a copy is recognised whole, and a change reaches what depends on it, and only that.

The runs here hold no model: what they were made from is written down as training does, and the graph is asked what it
would run.
"""

import shutil
from pathlib import Path

import numpy as np
import yaml
from finished_study import OTHER, RUNS, SCRATCH, TRANSFERRED, listed, planned, write_params

from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.study import freshness
from lungkeras.study.params_files import load_study


def change(file: Path, key: str, value) -> None:
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {key: value}))


def test_nothing_is_computed_again_in_a_copy_with_other_dates(copied):
    assert planned(copied) == ([], [])
    assert listed(copied) == {}


def test_a_changed_param_trains_only_that_run_and_those_that_start_from_it(copied):
    change(copied / "params" / f"{OTHER}.yaml", "seed", 1)
    assert planned(copied) == ([OTHER], list(freshness.READING))
    assert listed(copied) == {"train": 1, "evaluate": 1, "visualize": 1, "report": 1, "total": 4}
    change(copied / "params" / f"{SCRATCH}.yaml", "epochs", 3)
    assert set(planned(copied)[0]) == {SCRATCH, TRANSFERRED, OTHER}


def test_one_changed_pixel_trains_the_runs_of_that_dataset_alone(copied):
    images = np.load(copied / "prepared" / "covid" / "train.npy", mmap_mode="r+")
    images[3, 5, 7] ^= 1
    images.flush()
    assert set(planned(copied)[0]) == {TRANSFERRED, OTHER}
    _, runs = load_study(copied / "params")
    assert freshness.changed_datasets(freshness.prepared_data(runs)) == [copied / "prepared" / "covid"]


def test_changed_weights_of_a_run_are_noticed(copied):
    (copied / "report" / "runs" / OTHER / "best.keras").write_text("cut sh")
    assert planned(copied)[0] == [OTHER]
    (copied / "report" / "runs" / SCRATCH / "best.keras").write_text("cut sh")
    assert set(planned(copied)[0]) == {SCRATCH, TRANSFERRED, OTHER}


def test_another_title_or_changed_prose_reaches_the_report_and_no_run(copied, monkeypatch):
    change(copied / "params" / "study.yaml", "title", "Another title")
    assert planned(copied) == ([], list(freshness.READING))
    write_params(copied / "params")
    original = freshness.cells
    monkeypatch.setattr(freshness, "cells", lambda notebook: original(notebook) + "!" * ("05" in notebook.name))
    assert planned(copied) == ([], ["05_report"])
    monkeypatch.setattr(freshness, "cells", lambda notebook: original(notebook) + "!" * ("02" in notebook.name))
    assert planned(copied) == ([], [])


def test_a_changed_table_reaches_the_report_alone(copied):
    (copied / "report" / "tables" / "table_1.csv").write_text("corrected by hand")
    assert planned(copied) == ([], ["05_report"])


def test_another_source_or_size_is_prepared_again(original, copied):
    shared, runs = load_study(copied / "params")
    assert freshness.outdated_datasets(shared, runs, {}) == []
    assert freshness.outdated_datasets(shared, runs, {"covid": str(original / "sources" / "covid")}) == []
    source = shutil.copytree(original / "sources" / "covid", copied / "mine")
    next(source.rglob("*.png")).unlink()
    assert freshness.outdated_datasets(shared, runs, {"covid": str(source)}) == ["covid"]
    change(copied / "params" / "study.yaml", "image_size", 64)
    shared, runs = load_study(copied / "params")
    assert freshness.outdated_datasets(shared, runs, {}) == ["covid", "pneumonia"]
    assert listed(copied) == {"prepare": 2, "train": 3, "evaluate": 1, "visualize": 1, "report": 1, "total": 8}


def test_a_missing_dataset_is_prepared_before_runs_are_chosen(copied, original):
    shutil.copytree(original / "sources", copied / "sources")
    shared, runs = load_study(copied / "params")
    assert freshness.outdated_datasets(shared, runs, {}) == []
    shutil.rmtree(copied / "prepared" / "covid")
    assert freshness.outdated_datasets(shared, runs, {}) == ["covid"]
    prepare_dataset("covid", copied / "sources" / "covid", copied / "prepared" / "covid", size=32)
    assert planned(copied) == ([], [])
    shutil.rmtree(copied / "prepared" / "covid")
    for name in RUNS:
        (runs[name].run_folder / "metrics.json").unlink()
    assert freshness.outdated_datasets(shared, runs, {}) == []  # it is prepared when a run asks for it
