"""A study goes by hashes: a copy is recognised whole, and a change reaches what depends on it, and only that.

The runs here hold no model: what they were made from is written down as training does, and the graph is asked what it
would run.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from lungkeras.preparation.audit.dataset import TABLES as AUDIT_TABLES
from lungkeras.preparation.made_from import of_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.study import freshness, made_from, table_names
from lungkeras.study.params import dump
from lungkeras.study.params_files import load_study
from lungkeras.system.files import write_json

SCRATCH, TRANSFERRED = "pneumonia-efficientnet_b1-random", "covid-efficientnet_b1-transfer"
OTHER = "covid-resnet34-random"
RUNS = {
    SCRATCH: {"dataset": "pneumonia", "backbone": "efficientnet_b1"},
    TRANSFERRED: {"dataset": "covid", "backbone": "efficientnet_b1", "weights": f"{SCRATCH}/best.keras"},
    OTHER: {"dataset": "covid", "backbone": "resnet34"},
}
TABLES = [*table_names.EVALUATION, *table_names.FEATURES, *table_names.EXPLANATIONS, "claims"]
TABLES += [f"audit_{name}" for name in AUDIT_TABLES]
NAMED = ("reliability", "pointing", "cascade")
PICTURES = ("01", "02", "03", "04", "05", "06", "07", "08")


def write_params(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    shared = {"title": "A small study", "image_size": 32, "source": str(folder.parent / "sources")}
    shared |= {"prepared": str(folder.parent / "prepared"), "runs": str(folder.parent / "report" / "runs")}
    (folder / "study.yaml").write_text(yaml.safe_dump(shared))
    for name, params in RUNS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module")
def original(phantom_source, tmp_path_factory):
    """A finished study: two prepared datasets, three runs, and a file for each output of the graph."""
    root = tmp_path_factory.mktemp("original")
    write_params(root / "params")
    shared, runs = load_study(root / "params")
    for dataset in ("pneumonia", "covid"):
        shutil.copytree(phantom_source(dataset), root / "sources" / dataset)
        prepare_dataset(dataset, root / "sources" / dataset, root / "prepared" / dataset, size=32)
        (root / "prepared" / dataset / "audit.json").touch()
    for name in (SCRATCH, TRANSFERRED, OTHER):  # the transferred run after the run whose weights it starts from
        folder = runs[name].run_folder
        folder.mkdir(parents=True)
        for file in made_from.RESULTS:
            (folder / file).write_text(f"{file} of {name}")
        (folder / "params.yaml").write_text(dump(runs[name]))
        data = of_prepared(runs[name].prepared_folder)
        hashes = made_from.training_made_from(runs[name], data)
        write_json(folder / "fingerprint.json", {"made_from": hashes, "results": made_from.of_results(folder)})
    report = root / "report"
    outputs = [f"tables/{name}.csv" for name in TABLES]
    outputs += [f"figures/{name}.png" for name in [*NAMED, *(f"figure_{number}" for number in PICTURES)]]
    outputs += [f"notebooks/{name}.ipynb" for name in freshness.READING] + ["report.html"]
    for name in outputs:
        (report / name).parent.mkdir(exist_ok=True)
        (report / name).touch()
    freshness.remember(shared, runs)
    return root


@pytest.fixture
def copied(original, tmp_path):
    """The study as a colleague has it: in other folders, without the sources, the later steps of an earlier date."""
    write_params(tmp_path / "params")
    for folder in ("prepared", "report"):
        shutil.copytree(original / folder, tmp_path / folder)
    files = sorted(tmp_path.rglob("*"), key=lambda file: ("report" in file.parts, file.suffix == ".html"))
    for age, file in enumerate(files):
        os.utime(file, (0, 1_000_000_000 - age))
    return tmp_path


def planned(study: Path) -> tuple[list[str], list[str]]:
    """The runs to train and the notebooks to execute."""
    shared, runs = load_study(study / "params")
    trained = freshness.outdated_runs(runs, freshness.prepared_data(runs), [])
    return trained, freshness.outdated_notebooks(shared, runs, trained)


def listed(study: Path) -> dict[str, int]:
    """What the graph of notebooks would run, {rule: jobs}."""
    command = [sys.executable, "-m", "lungkeras", "report", str(study / "params"), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = re.findall(r"^(prepare|train|evaluate|visualize|report|total)\s+(\d+)$", done.stdout + done.stderr, re.M)
    return {rule: int(jobs) for rule, jobs in rules}


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
