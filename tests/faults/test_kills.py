"""Killed at any moment: a file under its final name is whole, and the same command ends as if nothing had been."""

import io
import json
import random
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import pandas as pd
import psutil
import pytest
from folder_contents import contents, strays
from killing import Moment, killed, moments, undisturbed
from prepared_data import write_prepared
from small_study import report, small_study
from small_training import params_of, small_model

from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.files import atomic, atomic_folder, sweep, write_json
from lungkeras.training import one_run, progress

EPOCHS = 8


def again(work: Callable, *arguments) -> None:
    """Does the work here as a new process would."""
    sweep.cache_clear()
    work(*arguments)


def write(file: Path, number: int) -> None:
    write_json(file, list(range(number)))


def test_a_file_killed_at_each_step_of_its_writing_is_the_old_or_the_new_one(tmp_path, injected):
    steps, _ = undisturbed(write, tmp_path / "whole" / "data.json", 1000, folder=tmp_path)
    for step in range(1, steps + 1):
        file = tmp_path / str(step) / "data.json"
        write(file, 10)
        killed(write, file, 1000, folder=tmp_path, at=Moment(step))
        assert len(json.loads(file.read_text())) in (10, 1000)
        again(write, file, 1000)
        assert json.loads(file.read_text()) == list(range(1000))
        assert not strays(tmp_path)
    injected("kill -9 while a file is written", steps)


def test_what_another_process_is_writing_is_not_swept(tmp_path):
    with atomic(tmp_path / "file.json") as temporary, atomic_folder(tmp_path / "folder") as folder:
        temporary.write_text("being written")
        (folder / "file").touch()
        undisturbed(write, tmp_path / "other.json", 10, folder=tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"file.json", "folder", "other.json"}


def prepare(source: Path, to: Path, size: int = 32) -> None:
    prepare_dataset("covid", source, to, size=size)


def kill_preparation(source: Path, folder: Path, number: int) -> None:
    """Kills the preparation of a new dataset and of one that stands there in another size, in turn."""
    whole, before = (folder / name / "covid" for name in ("whole", "before"))
    steps, seconds = undisturbed(prepare, source, whole, folder=folder)
    prepare(source, before, 16)
    expected, earlier = contents(whole), contents(before)
    for place, moment in enumerate(moments(number, number, steps, seconds)):
        to = folder / str(place) / "covid"
        if place % 2:
            shutil.copytree(before, to)
        killed(prepare, source, to, folder=folder, at=moment)
        # Between two renames there may be nothing for a moment, but never a mixture.
        assert contents(to) in (expected, earlier if place % 2 else {}, {}), moment
        again(prepare, source, to)
        assert contents(to) == expected, moment
        assert [file.name for file in to.parent.iterdir()] == ["covid"], moment


def test_a_killed_preparation_ends_byte_for_byte_as_an_undisturbed_one(phantom_source, tmp_path, injected):
    kill_preparation(phantom_source("covid"), tmp_path, 4)
    injected("kill -9 in preparation", 4)


@pytest.mark.faults
def test_thirty_killed_preparations_end_byte_for_byte_as_an_undisturbed_one(phantom_source, tmp_path, injected):
    kill_preparation(phantom_source("covid"), tmp_path, 30)
    injected("kill -9 in preparation", 30)


def train(prepared: Path, runs: Path, seed: int = 0) -> None:
    progress.SECONDS_BETWEEN_CHECKPOINTS = 0.0  # in the child alone
    one_run.train(params_of(prepared, runs, epochs=EPOCHS, seed=seed), small_model())


def results(runs: Path) -> dict[str, object]:
    """All that a run's files hold but the time that it took, to be compared bit for bit."""
    (folder,) = [run for run in runs.iterdir() if run.is_dir()]
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == list(range(1, EPOCHS + 1))
    assert not strays(folder) and not list(folder.glob("checkpoint*"))
    scores = json.loads((folder / "metrics.json").read_text())
    return {
        "history": history.drop(columns="seconds").to_dict("list"),
        "scores": {key: value for key, value in scores.items() if key != "seconds_per_epoch"},
        "predictions": (folder / "predictions.parquet").read_bytes(),
        "weights": weights(folder / "best.keras"),
    }


def weights(file: Path) -> dict[str, bytes]:
    """The bytes of every array of a model file by its name."""
    found = {}
    with h5py.File(io.BytesIO(zipfile.ZipFile(file).read("model.weights.h5"))) as held:
        held.visititems(lambda name, node: found.update({name: node[()].tobytes()} if hasattr(node, "shape") else {}))
    return found


def kill_training(folder: Path, number: int) -> None:
    """Kills training at moments from the whole of it, or, where they are two, in a checkpoint and in the last files."""
    prepared = write_prepared(folder / "prepared" / "pneumonia")
    steps, seconds = undisturbed(train, prepared, folder / "whole", folder=folder)
    expected = results(folder / "whole")
    assert len(expected["weights"]) > 5
    late = [Moment(steps // 2), Moment(steps - 8)]
    for place, moment in enumerate(moments(number, number, steps, seconds) if number > 2 else late):
        runs = folder / str(place)
        killed(train, prepared, runs, folder=folder, at=moment)
        undisturbed(train, prepared, runs, folder=folder)
        assert results(runs) == expected, moment


def test_a_killed_training_ends_bit_for_bit_as_an_undisturbed_one(tmp_path, injected):
    kill_training(tmp_path, 2)
    injected("kill -9 in training", 2)


@pytest.mark.faults
def test_twenty_killed_trainings_end_bit_for_bit_as_an_undisturbed_one(tmp_path, injected):
    kill_training(tmp_path, 20)
    injected("kill -9 in training", 20)


def made(results: Path) -> dict[str, bytes]:
    """What evaluation and report leave but the executed notebooks, which hold the time of each cell."""
    files = [*results.glob("tables/*"), *results.glob("figures/*"), *results.glob("report.html")]
    return {file.relative_to(results).as_posix(): file.read_bytes() for file in files if file.name[0] != "."}


def kill_report(study: Path, results: Path, *, files: int, seconds: float) -> None:
    """Starts the report of a study, and kills it and all its children in a notebook, with so many files made."""
    started = subprocess.Popen(
        [sys.executable, "-m", "lungkeras", "report", str(study), "--cores", "2"], stdout=subprocess.DEVNULL
    )
    while started.poll() is None and not list(results.glob("notebooks/.running-*")):
        time.sleep(0.05)
    while started.poll() is None and len(made(results)) < files:
        time.sleep(0.05)
    time.sleep(seconds)
    if started.poll() is None:
        process = psutil.Process(started.pid)
        for child in [process, *process.children(recursive=True)]:
            child.kill()
    started.wait()


@pytest.mark.faults
def test_ten_killed_reports_end_byte_for_byte_as_an_undisturbed_one(tmp_path, injected):
    study, results = small_study(tmp_path, "pneumonia-mobilenet_v3_large-random")
    assert report(study).returncode == 0
    expected = made(results)
    assert len(expected) > 30
    for file in [*expected, "fingerprint.json", *(f"notebooks/{name}.ipynb" for name in ("03_evaluation",))]:
        (results / file).unlink()
    rng = random.Random(0)
    for files in sorted(rng.sample(range(1, len(expected)), 10)):
        kill_report(study, results, files=files, seconds=rng.uniform(0, 2))
        # A page names its day and what it lacks; a table or a figure is whole.
        assert {name: data for name, data in made(results).items() if name != "report.html"}.items() <= expected.items()
    done = report(study)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert made(results) == expected
    assert not strays(results)
    injected("kill -9 in evaluation and report", 10)
