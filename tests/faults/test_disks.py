"""A full disk and a folder that can't be written: a sentence, earlier results whole, and the same command then ends."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from folder_contents import contents
from prepared_data import write_prepared
from small_study import report, small_study
from small_training import params_of, small_model

from lungkeras import cli
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.report.page import write_report
from lungkeras.study.runs import read_run
from lungkeras.system.errors import FolderError
from lungkeras.system.files import new_array, no_room, write_csv, write_text
from lungkeras.system.processes import variables
from lungkeras.training import one_run, progress


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no right to mount a disk here: {done.stderr.strip() or done.returncode}")


@pytest.fixture
def disk(tmp_path):
    """A function: kilobytes -> a folder on a disk of that size, which a later call resizes."""
    folder = tmp_path / "disk"
    if shutil.which("mount") is None:
        pytest.skip("no mount command here")

    def sized(kilobytes: int) -> Path:
        is_there = os.path.ismount(folder)
        folder.mkdir(exist_ok=True)
        mount(*(("-o", f"remount,size={kilobytes}k") if is_there else ("-t", "tmpfs", "-o", f"size={kilobytes}k", "t")),
              str(folder))  # fmt: skip
        return folder

    yield sized
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path):
    """A function: folder -> the same folder where nothing can be written, even by root, and one that undoes it."""
    mounted = []

    def closed(folder: Path) -> Callable[[], None]:
        mount("--bind", str(folder), str(folder))
        mounted.append(folder)
        mount("-o", "remount,bind,ro", str(folder))
        return lambda: (subprocess.run(["umount", str(folder)], check=True), mounted.remove(folder))

    yield closed
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def sentence(capsys) -> str:
    said = capsys.readouterr().err
    assert said.startswith("lungkeras: ") and said.count("\n") == 1 and "Traceback" not in said, said
    return said


def test_a_file_that_finds_no_room_is_not_there_and_the_one_before_it_is_whole(disk):
    folder = disk(64)
    write_text(folder / "table.csv", "before")
    for write in (
        lambda: write_text(folder / "table.csv", "x" * 100_000),
        lambda: write_csv(folder / "table.csv", pd.DataFrame({"column": ["x" * 100] * 1000})),
        lambda: new_array(folder / "images.npy", (10, 100, 100)),
    ):
        with pytest.raises(FolderError, match=r"can't be written: its disk is full \(0\.\d MB left\): make room, then"):
            write()
        (folder / "images.npy").unlink(missing_ok=True)
        assert contents(folder) == {"table.csv": b"before"}
    disk(1000)
    write_text(folder / "table.csv", "x" * 100_000)
    assert len(new_array(folder / "images.npy", (10, 100, 100))) == 10


def test_a_preparation_on_a_full_disk_is_whole_or_not_there(disk, phantom_source, tmp_path, capsys, injected):
    source, folder = phantom_source("covid"), disk(2000)
    prepare_dataset("covid", source, tmp_path / "whole", size=32)
    prepare_dataset("covid", source, folder / "covid", size=16)
    before = contents(folder / "covid")
    used = sum(-(-len(data) // 4096) * 4 for data in before.values()) + 20
    refused = 0
    for kilobytes in (120, 330, 400):
        disk(used + kilobytes)
        command = ["prepare", "covid", "--source", str(source), "--to", str(folder / "covid"), "--size", "32"]
        status = cli.main(command)
        assert [file.name for file in folder.iterdir()] == ["covid"]
        if status == 0:
            break
        said = sentence(capsys)
        assert "room" in said and " MB" in said and str(folder) in said
        assert contents(folder / "covid") == before
        refused += 1
    assert refused
    disk(4000)
    assert cli.main(command) == 0
    prepared, whole = (contents(place) for place in (folder / "covid", tmp_path / "whole"))
    assert all(prepared[name] == whole[name] for name in ("train.npy", "val.npy", "test.npy", "records.parquet"))
    injected("full disks", refused)


def test_a_disk_that_fills_during_preparation_leaves_the_earlier_dataset(disk, phantom_source, monkeypatch, injected):
    from lungkeras.preparation import prepare

    source, folder = phantom_source("covid"), disk(3000)
    prepare_dataset("covid", source, folder / "covid", size=16)
    before, statistics = contents(folder / "covid"), prepare.grey_statistics

    def fill(images):
        with (folder / "filler").open("wb") as file, pytest.raises(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))
        return statistics(images)

    monkeypatch.setattr(prepare, "grey_statistics", fill)
    with pytest.raises(FolderError, match="its disk is full"):
        prepare_dataset("covid", source, folder / "covid", size=32)
    (folder / "filler").unlink()
    assert contents(folder / "covid") == before and len(list(folder.iterdir())) == 1
    injected("full disks", 1)


def test_a_training_on_a_full_disk_keeps_its_checkpoint_and_resumes(disk, tmp_path, monkeypatch, injected):
    prepared, folder = write_prepared(tmp_path / "prepared" / "pneumonia"), disk(4)
    params = params_of(prepared, folder / "runs", epochs=3)
    with pytest.raises(FolderError, match=r"room|full"):
        one_run.train(params, small_model())
    disk(400)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    filler, save, saved = folder / "filler", progress.Progress.save, []

    def fill_before_the_second(progress):
        saved.append(len(progress.rows))
        if len(saved) == 2:
            with filler.open("wb") as file, pytest.raises(OSError):
                while True:
                    os.write(file.fileno(), bytes(4096))
        save(progress)

    monkeypatch.setattr(progress.Progress, "save", fill_before_the_second)
    with pytest.raises(FolderError, match=r"checkpoint\.npz can't be written: its disk is full"):
        one_run.train(params, small_model())
    assert not {"metrics.json", "best.keras"} & {file.name for file in params.run_folder.iterdir()}
    filler.unlink()
    run = read_run(one_run.train(params, small_model()))
    assert saved == [1, 2, 2] and run.history["epoch"].tolist() == [1, 2, 3]
    injected("full disks", 2)


def test_a_model_that_finds_no_room_leaves_no_half_model(disk, injected):
    from lungkeras.models.files import save_model

    model, folder = small_model(), disk(8)
    with pytest.raises(FolderError, match=r"best\.keras can't be written: its disk is full"):
        save_model(model, folder / "best.keras")
    assert not list(folder.iterdir())
    injected("full disks", 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("trained")
    prepared = write_prepared(folder / "prepared" / "pneumonia")
    return one_run.train(params_of(prepared, folder / "runs", epochs=1), small_model())


def refused_then_done(command: list[str], target: Path, disk, capsys) -> None:
    """The command on a disk without room is a sentence that leaves what is there, and on a larger one it ends."""
    folder = disk(4)
    write_text(folder / "earlier.csv", "before")
    assert cli.main(command) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lungkeras: ")]
    assert len(said) == 1 and str(folder) in said[0], said
    assert "its disk is full" in said[0] or "has room for" in said[0], said
    assert contents(folder) == {"earlier.csv": b"before"}
    disk(40_000)
    assert cli.main(command) == 0
    assert target.exists() and (folder / "earlier.csv").read_text() == "before"


@pytest.mark.parametrize("kind", ["csv", "heatmaps"])
def test_predictions_that_find_no_room_are_not_there(kind, trained, disk, phantom_source, tmp_path, capsys, injected):
    scans = sorted(phantom_source("pneumonia").rglob("*.jpeg"))[:20]
    if kind == "csv":  # a table of more than a page
        scans = [shutil.copy(scans[0], tmp_path / f"{place}-{'n' * 200}.jpeg") for place in range(20)]
    target = tmp_path / "disk" / ("answers.csv" if kind == "csv" else "maps")
    command = ["predict", str(trained), *map(str, scans), f"--{kind}", str(target)]
    disk(4)
    refused_then_done(command, target, disk, capsys)
    injected("full disks", 1)


def test_a_judgement_that_finds_no_room_is_no_half_page(disk, tmp_path, capsys, injected):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60)
    table = pd.DataFrame({"scan": [f"{place}.png" for place in range(60)], "patient": range(60), "label_mass": labels})
    write_csv(tmp_path / "mine.csv", table.assign(probability_mass=random.random(60)))
    target = tmp_path / "disk" / "judged"
    disk(4)
    refused_then_done(["judge", str(tmp_path / "mine.csv"), "--to", str(target)], target / "report.html", disk, capsys)
    injected("full disks", 1)


@pytest.mark.faults
def test_an_export_that_finds_no_room_is_not_there(trained, disk, tmp_path, capsys, monkeypatch, injected):
    pytest.importorskip("ai_edge_litert")
    target = tmp_path / "disk" / "model.tflite"
    command = ["export", str(trained), "--format", "litert", "--to", str(target)]
    disk(4)
    with monkeypatch.context() as patch:  # also where it fills while the model is converted
        patch.setattr("lungkeras.prediction.export.require_room", lambda *_: None)
        refused_then_done(command, target, disk, capsys)
    injected("full disks", 1)


def test_an_output_that_is_full_is_a_sentence():
    """What a command prints may go to a file; evaluate has no other output."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-P", "-m", "lungkeras", "--version"]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, env=variables())
    assert done.returncode == 1
    assert done.stderr == f"lungkeras: {no_room(OSError(errno.ENOSPC, ''))}\n"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return folder, synthetic.study(folder)


@pytest.mark.faults
def test_a_report_on_a_full_disk_leaves_the_one_before_it(disk, study, injected):
    made, facts = study
    folder = disk(20_000)
    for name in ("tables", "figures", "runs"):
        shutil.copytree(made / name, folder / name)
    write_text(folder / "report.html", "the report before")
    disk(sum(-(-len(data) // 4096) * 4 for data in contents(folder).values()) + 200)
    with pytest.raises(FolderError, match=r"report\.html can't be written: its disk is full"):
        write_report(folder, **facts)
    assert (folder / "report.html").read_text() == "the report before"
    disk(20_000)
    assert "</html>" in write_report(folder, **facts).read_text()
    injected("full disks", 1)


def test_a_folder_that_can_not_be_written_is_named(read_only, phantom_source, tmp_path, capsys, injected):
    source, closed = phantom_source("covid"), tmp_path / "closed"
    prepare_dataset("covid", source, closed / "covid", size=16)
    before = contents(closed)
    opened = read_only(closed)
    commands = [
        ["prepare", "covid", "--source", str(source), "--to", str(closed / "covid"), "--size", "32"],
        ["prepare", "covid", "--source", str(source), "--to", str(closed / "new" / "covid"), "--size", "32"],
        ["phantom", "covid", "--to", str(closed / "source"), "--scans", "20"],
        ["fetch", "covid", "--to", str(closed / "source"), "--archive", str(tmp_path)],
    ]
    study = tmp_path / "params"
    study.mkdir()
    shared = f"runs: {closed / 'results' / 'runs'}\nprepared: {closed}\nsource: {tmp_path}\n"
    (study / "study.yaml").write_text(shared)
    (study / "covid-resnet34-random.yaml").write_text("dataset: covid\nbackbone: resnet34\nimage_size: 32\n")
    commands.append(["report", str(study)])
    for command in commands:
        assert cli.main(command) == 1
        said = sentence(capsys)
        assert str(closed) in said and "writ" in said, said
    params = params_of(write_prepared(tmp_path / "prepared" / "pneumonia"), closed / "runs")
    with pytest.raises(FolderError, match=r"can't be written \(read-only file system\): make its folder writable"):
        one_run.train(params, small_model())
    assert contents(closed) == before and len(load_prepared(closed / "covid").records) == 60
    opened()
    assert cli.main(commands[0]) == 0
    injected("folders that can't be written", len(commands) + 1)


@pytest.mark.faults
def test_a_study_on_a_disk_too_small_ends_once_it_has_grown(disk, tmp_path, injected):
    folder = disk(300)
    study, results = small_study(tmp_path, "pneumonia-mobilenet_v3_large-random")
    text = (study / "study.yaml").read_text()
    (study / "study.yaml").write_text(text.replace(str(tmp_path), str(folder)))
    results = folder / results.relative_to(tmp_path)
    refused = 0
    for kilobytes in (300, 3_000, 8_000, 13_000, 16_000, 20_000):
        disk(kilobytes)
        done = report(study)
        if done.returncode == 0:
            break
        assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        assert done.stderr.startswith("lungkeras: ") and done.stderr.count("\n") == 1, done.stderr
        assert "room" in done.stderr or "left" in done.stderr, done.stderr
        refused += 1
    disk(200_000)
    done = report(study)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (results / "report.html").is_file() and not list(results.rglob("*.failed.ipynb"))
    assert refused >= 2
    injected("full disks", refused)
