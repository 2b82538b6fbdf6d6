"""Two and eight processes on one folder: one makes it, the others wait or say who does, and all see the same."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from folder_contents import contents
from killing import SERVER
from prepared_data import write_prepared
from small_study import small_study
from small_training import params_of, small_model

from lungkeras import cli
from lungkeras.cli.commands import report
from lungkeras.datasets import acquisition
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.study import runs
from lungkeras.system import locks
from lungkeras.system.errors import FolderError
from lungkeras.system.locks import alone
from lungkeras.system.places import project_folder
from lungkeras.training import one_run


def together(work, number: int, *arguments) -> list[int]:
    """Does the work in so many processes that start at one moment; returns their exit statuses."""
    start = SERVER.Barrier(number)
    processes = [SERVER.Process(target=at_once, args=(start, work, arguments)) for _ in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=300)
    return [process.exitcode for process in processes]


def at_once(start, work, arguments) -> None:
    start.wait(timeout=300)
    work(*arguments)


def add(folder: Path) -> None:
    """Reads a number and writes the next, which is lost where two do so at once."""
    with alone(folder / ".lock", "the number is being raised"):
        number = int((folder / "number").read_text())
        time.sleep(0.02)
        (folder / "number").write_text(str(number + 1))


@pytest.mark.parametrize("number", [pytest.param(2, marks=pytest.mark.faults), 8])
def test_one_process_at_a_time_holds_a_lock(tmp_path, number):
    (tmp_path / "number").write_text("0")
    assert together(add, number, tmp_path) == [0] * number
    assert (tmp_path / "number").read_text() == str(number)
    assert [file.name for file in tmp_path.iterdir()] == ["number"]


def hold(file: Path, held) -> None:
    with alone(file, "it is being made"):
        held.set()
        time.sleep(60)


def test_a_lock_ends_with_its_holder_and_says_who_that_is(tmp_path, capsys):
    file, held = tmp_path / ".lock", SERVER.Event()
    holder = SERVER.Process(target=hold, args=(file, held))
    holder.start()
    assert held.wait(timeout=60)
    words = rf"it is being made by process {holder.pid} on .*: wait until it ends, or end it"
    with pytest.raises(FolderError, match=words), alone(file, "it is being made", patience=0.1):
        pass
    holder.kill()
    holder.join()
    assert file.is_file()  # nobody could remove it, and it holds nobody up
    started = time.monotonic()
    with alone(file, "it is being made") as lock:
        assert time.monotonic() - started < 1
        assert f"process {os.getpid()} on" in file.read_text()
        os.fstat(lock.handle)
    assert not file.exists() and capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["link", "hard link", "dead link", "pipe"])
def test_a_lock_that_is_not_a_plain_file_is_neither_followed_nor_waited_for(kind, tmp_path):
    """As a copied study may bring it."""
    lock, outside = tmp_path / "study" / ".lock", tmp_path / "outside"
    lock.parent.mkdir()
    outside.write_text("somebody's")
    match kind:
        case "link":
            lock.symlink_to(outside)
        case "hard link":
            os.link(outside, lock)
        case "dead link":
            lock.symlink_to(tmp_path / "absent")
        case "pipe":
            os.mkfifo(lock)
    with pytest.raises(FolderError, match=f"{lock} is a link, a pipe or a device"), alone(lock, "it is made"):
        pass
    assert outside.read_text() == "somebody's" and not (tmp_path / "absent").exists()
    assert not locks.is_held(lock)


def test_the_words_of_a_holder_forge_no_line(tmp_path):
    lock = tmp_path / ".lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("\x1b[2Jprocess\nlungkeras: all is well")
        file.flush()
        with pytest.raises(FolderError, match=r"by \\x1b\[2Jprocess\\nlungkeras"), alone(lock, "it is", patience=0):
            pass


def test_what_inherits_a_lock_holds_it(tmp_path):
    """As where the first holder was killed: its file stays, held by what it has started."""
    lock, handle = tmp_path / ".lock", os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    child = subprocess.Popen(["sleep", "60"], pass_fds=(handle,))
    os.close(handle)
    with (
        pytest.raises(FolderError, match="it is being made by another process"),
        alone(lock, "it is being made", patience=0),
    ):
        pass
    child.kill()
    child.wait()
    with alone(lock, "it is being made", patience=0):
        pass


def prepare(source: Path, to: Path) -> None:
    prepare_dataset("covid", source, to, size=32)


def prepare_together(source: Path, folder: Path, number: int, times: int) -> None:
    prepare(source, folder / "whole" / "covid")
    whole = contents(folder / "whole")
    for place in range(times):
        to = folder / f"{number}-{place}" / "covid"
        assert together(prepare, number, source, to) == [0] * number
        assert contents(to.parent) == whole


def test_two_processes_prepare_one_complete_dataset(phantom_source, tmp_path, injected):
    prepare_together(phantom_source("covid"), tmp_path, 2, 1)
    injected("processes at once on one folder", 2)


@pytest.mark.faults
@pytest.mark.parametrize("number", [2, 8])
def test_processes_prepare_one_dataset_ten_times(phantom_source, tmp_path, number, injected):
    prepare_together(phantom_source("covid"), tmp_path, number, 10)
    injected("processes at once on one folder", 10 * number)


def test_a_waiting_process_uses_an_equal_result_and_makes_a_different_one(phantom_source, tmp_path, monkeypatch):
    """The lock of the other process is one that this one seems to have waited for."""
    source, to = phantom_source("covid"), tmp_path / "covid"
    prepare(source, to)
    acquired = locks._acquired
    monkeypatch.setattr(locks, "_acquired", lambda *given: (acquired(*given)[0], True))
    before = to.stat().st_ino
    prepare(source, to)
    assert to.stat().st_ino == before
    prepare_dataset("covid", source, to, size=16)
    assert to.stat().st_ino != before


def draw(source: Path) -> None:
    acquisition.acquire("covid", source, "draw", scans=20)


@pytest.mark.faults
def test_processes_draw_one_source_once(tmp_path):
    assert together(draw, 4, tmp_path / "covid") == [0] * 4
    assert [file.name for file in tmp_path.iterdir()] == ["covid"]


def train(prepared: Path, folder: Path) -> None:
    one_run.train(params_of(prepared, folder, epochs=2), small_model())


@pytest.mark.faults
@pytest.mark.parametrize("number", [2, 8])
def test_processes_train_one_run_once(tmp_path, number, injected):
    prepared = write_prepared(tmp_path / "prepared" / "pneumonia")
    train(prepared, tmp_path / "whole")
    assert together(train, number, prepared, tmp_path / "runs") == [0] * number
    (run,), (whole,) = (list(runs.read_runs(tmp_path / name).values()) for name in ("runs", "whole"))
    assert run.history["epoch"].tolist() == [1, 2]
    assert run.predictions.equals(whole.predictions)
    assert not (tmp_path / "runs" / run.name / ".lock").exists()
    injected("processes at once on one folder", number)


def test_a_second_report_of_a_study_says_who_makes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "SECONDS_TO_SHUT_DOWN", 0.1)
    study, results = small_study(tmp_path, "pneumonia-mobilenet_v3_large-random")
    with alone(results / ".lock", "it is being made"):
        assert cli.main(["report", str(study)]) == 1
    said = capsys.readouterr().err
    words = f"lungkeras: {results} is being made by process {os.getpid()} on "
    assert said.startswith(words) and "wait until it ends, or end it, then run the same command again" in said
    assert said.count("\n") == 1


@pytest.mark.faults
@pytest.mark.parametrize("number", [2, 8])
def test_reports_of_one_study_at_once_make_it_once(tmp_path, number, injected):
    study, results = small_study(tmp_path, "pneumonia-mobilenet_v3_large-random")
    command = [sys.executable, "-m", "lungkeras", "report", str(study), "--cores", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(number)]
    said = [process.communicate() for process in started]
    assert sorted(process.returncode for process in started) == [0] + [1] * (number - 1), said
    for process, (out, err) in zip(started, said, strict=True):
        assert "Traceback" not in out + err and err.count("\n") == process.returncode
        assert process.returncode == 0 or "is being made by process" in err
    assert (results / "report.html").is_file() and not (results / ".lock").exists()

    shutil.rmtree(results / "tables")
    killed = subprocess.Popen(command, **pipes)
    while not list(results.glob("notebooks/.running-*")):
        assert killed.poll() is None
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (project_folder() / ".snakemake" / "locks").mkdir(exist_ok=True, parents=True)
    stale = project_folder() / ".snakemake" / "locks" / "0.output.lock"
    stale.write_text(os.path.relpath(results / "report.html", project_folder()) + "\n")
    try:
        done = subprocess.run(command, check=False, **{**pipes, "timeout": 900})
    finally:
        stale.unlink(missing_ok=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (results / "tables" / "table_3.csv").is_file()
    injected("processes at once on one folder", number + 1)
