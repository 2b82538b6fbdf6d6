"""Ctrl-C, SIGTERM and the sudden death of a command: 130, 143, nothing half made, nothing left running."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from folder_contents import contents
from prepared_data import write_prepared
from small_study import small_study
from small_training import params_of, small_model

from lungkeras import cli
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.study import runs
from lungkeras.system import stopping
from lungkeras.training import one_run, progress

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "terminated"}


@pytest.fixture
def after():
    """A function: (seconds, number of a signal) -> this process is sent the signal then, unless the test is over."""

    def alarm(seconds: float, number: int) -> None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
        signal.setitimer(signal.ITIMER_REAL, seconds)

    before = signal.getsignal(signal.SIGALRM)
    yield alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_stopped_preparation_leaves_the_earlier_one_and_continues(phantom_source, tmp_path, after, capsys, injected):
    source, to = phantom_source("pneumonia"), tmp_path / "prepared" / "pneumonia"
    command = ["prepare", "pneumonia", "--source", str(source), "--to", str(to), "--size", "32", "--workers", "1"]
    prepare_dataset("pneumonia", source, tmp_path / "whole", size=32)
    prepare_dataset("pneumonia", source, to, size=16)
    whole, earlier = contents(tmp_path / "whole"), contents(to)
    rng, stopped = random.Random(0), 0
    for place in range(6):
        number = list(STATUS)[place % 3]
        after(rng.uniform(0.001, 0.3), number)
        status = cli.main(command)
        signal.setitimer(signal.ITIMER_REAL, 0)
        said = capsys.readouterr().err
        assert [file.name for file in to.parent.iterdir()] == ["pneumonia"]
        if status == 0:
            shutil.rmtree(to)
            prepare_dataset("pneumonia", source, to, size=16)
            continue
        assert status == STATUS[number]
        assert said.splitlines()[-1] == f"lungkeras: {WORDS[number]}; run the same command again to continue"
        assert "Traceback" not in said
        assert contents(to) == earlier
        stopped += 1
    assert stopped >= 2
    assert cli.main(command) == 0
    assert {name: data for name, data in contents(to).items() if name != "statistics.json"} == {
        name: data for name, data in whole.items() if name != "statistics.json"
    }
    injected("ctrl-C, SIGTERM and SIGHUP", stopped)


def test_a_terminated_training_resumes_at_its_checkpoint(tmp_path, monkeypatch, injected):
    params = params_of(write_prepared(tmp_path / "prepared" / "pneumonia"), tmp_path / "runs", epochs=3)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    seed, began = progress.seed_random_layers, []

    def stop(model, number, epoch):
        began.append(epoch)
        if len(began) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        seed(model, number, epoch)

    monkeypatch.setattr(progress, "seed_random_layers", stop)
    with pytest.raises(stopping.Terminated) as stopped, stopping.by_signals():
        one_run.train(params, small_model())
    assert stopped.value.status == 143
    assert {file.name for file in params.run_folder.iterdir()} >= {"checkpoint.npz", "params.yaml"}
    assert not {".lock", "metrics.json"} & {file.name for file in params.run_folder.iterdir()}
    run = runs.read_run(one_run.train(params, small_model()))
    assert began == [0, 1, 2, 2] and run.history["epoch"].tolist() == [1, 2, 3]
    injected("ctrl-C, SIGTERM and SIGHUP", 1)


TREE = "setsid sleep 60 & sleep 60 & echo started > {file}; trap '' TERM; sleep 60; sleep 60"
CALLER = """
import sys
import signal
from lungkeras.system import stopping
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test in the background ignores
try:
    with stopping.by_signals():
        stopping.run(["sh", "-c", sys.argv[1]], environment={}, patience=float(sys.argv[2]))
except stopping.Terminated as stop:
    sys.exit(stop.status)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "patience"), [(signal.SIGTERM, 0.5), (signal.SIGINT, 0), (signal.SIGKILL, 0)])
def test_what_ends_a_command_ends_all_that_it_has_started(tmp_path, number, patience):
    file = tmp_path / "started"
    caller = subprocess.Popen([sys.executable, "-c", CALLER, TREE.format(file=file), str(patience)])
    while not file.exists():
        assert caller.poll() is None
        time.sleep(0.02)
    started = psutil.Process(caller.pid).children(recursive=True)
    assert len(started) >= 4
    caller.send_signal(number)
    assert caller.wait(timeout=30) == STATUS.get(number, -number)
    _, alive = psutil.wait_procs(started, timeout=0 if number != signal.SIGKILL else 30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_a_command_that_ends_normally_gives_its_status(tmp_path):
    environment = {"PATH": os.environ["PATH"], "word": "seen"}
    with (tmp_path / "lock").open("w") as lock:
        held = f'[ -e /proc/self/fd/{lock.fileno()} ] && [ "$word" = seen ] && exit 7'
        assert stopping.run(["sh", "-c", held], environment=environment, keep=(lock.fileno(),)) == 7
        assert stopping.run(["sh", "-c", held], environment=environment) == 1


def test_a_signal_that_the_caller_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.by_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_meets_a_finaliser_is_not_lost(number):
    class Freed:
        def __del__(self):
            os.kill(os.getpid(), number)
            time.sleep(0.001)  # where the handler raises, and Python drops what it raised

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as stopped, stopping.by_signals():
            Freed()
            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert getattr(stopped.value, "status", 130) == STATUS[number]


def start(study: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "lungkeras", "report", str(study), "--cores", "2"]
    restore = "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    restore += "os.execv(sys.argv[1], sys.argv[1:])"  # a test in the background may ignore ctrl-C
    return subprocess.Popen(
        [sys.executable, "-c", restore, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.faults
def test_a_study_stopped_at_ten_times_leaves_nothing_running_and_continues(tmp_path, injected):
    study, results = small_study(tmp_path, "pneumonia-mobilenet_v3_large-random")
    rng, stopped = np.random.default_rng(0), 0
    for place in range(10):
        number = [signal.SIGTERM, signal.SIGINT, signal.SIGKILL][place % 3]
        report = start(study)
        assert report.stdout.readline().startswith("Study ")  # its imports, too, may be ended, but by Python
        try:
            report.communicate(timeout=rng.uniform(1, 20 + 4 * place))
        except subprocess.TimeoutExpired:
            started = psutil.Process(report.pid).children(recursive=True)
            report.send_signal(number)
            out, err = report.communicate()
            assert report.returncode == STATUS.get(number, -number), out + err
            assert "Traceback" not in err and err.count("\n") == (number != signal.SIGKILL), err
            psutil.wait_procs(started, timeout=30)
            alive = [process for process in started if process.is_running()]
            assert not [process.cmdline() for process in alive if process.status() != psutil.STATUS_ZOMBIE]
            stopped += 1
    report = start(study)
    out, err = report.communicate()
    assert report.returncode == 0, out + err
    assert (results / "report.html").is_file() and not list(results.rglob(".writing-*"))
    assert not list(results.rglob("*.failed.ipynb")) and not list(results.rglob(".lock"))
    assert stopped >= 5
    injected("a study stopped by ctrl-C, SIGTERM, SIGKILL", stopped)
