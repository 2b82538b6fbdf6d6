"""Processes of PyTorch that train together: they go on after a break, and where one ends, none is left.

That they train as one device does is tested with the other backends, in test_devices.py.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import pandas as pd
import psutil
import pytest
from prepared_data import write_prepared
from small_training import interrupted, params_of, small_model

from lungkeras.system import devices
from lungkeras.system.errors import RunError
from lungkeras.training import one_run

CHECKOUT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="other backends share a batch in a process")


@pytest.fixture(scope="module")
def prepared_folder(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("prepared") / "pneumonia")


@pytest.fixture
def params(prepared_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "found_devices", lambda: ["cpu:0", "cpu:1"])
    return params_of(prepared_folder, tmp_path, devices="all", epochs=3)


def others() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if one_run.FOLLOW in process.cmdline()]


def test_an_interrupted_run_of_two_devices_ends_as_an_undisturbed_one(params, tmp_path, monkeypatch):
    undisturbed = one_run.train(params.model_copy(update={"runs": f"{tmp_path}/undisturbed"}), small_model())
    with interrupted(monkeypatch, before=2):
        one_run.train(params, small_model())
    assert not others() and devices.sharing() == 1
    resumed, expected = (
        pd.read_csv(run / "history.csv").drop(columns="seconds")
        for run in (one_run.train(params, small_model()), undisturbed)
    )
    pd.testing.assert_frame_equal(resumed, expected, rtol=1e-6)


FOLLOWER = "import os; from lungkeras.training import one_run, progress\n"
ENDS = {
    "raise SystemExit(3)": r"the process of cpu:1 ended \(status 3\)",
    f"{FOLLOWER}one_run.load_model = None; one_run.follow()": (
        r"the process of cpu:1 ended \(TypeError: 'NoneType' object is not callable\)"
    ),
    f"{FOLLOWER}progress.Follower.on_epoch_end = lambda *_: os.kill(os.getpid(), 9); one_run.follow()": (
        r"the process of cpu:1 ended \(SIGKILL\)"
    ),
    f"{FOLLOWER}def load(_): raise MemoryError\none_run.load_model = load; one_run.follow()": (
        "not enough memory for batches of 8 scans"
    ),
}


@pytest.mark.parametrize("code", ENDS, ids=["at once", "by an error", "killed", "short of memory"])
def test_the_end_of_another_process_is_one_sentence(params, monkeypatch, code):
    monkeypatch.setattr(one_run, "FOLLOW", code)
    with pytest.raises(RunError, match=ENDS[code]):
        one_run.train(params, small_model())
    assert not others() and devices.share() is None


TRAINS = """
import sys
import lungkeras
from lungkeras.system import devices
from lungkeras.training import one_run
from small_training import params_of, small_model
from pathlib import Path

devices.found_devices = lambda: ["cpu:0", "cpu:1"]
one_run.train(params_of(Path(sys.argv[1]), sys.argv[2], devices=2, epochs=1000), small_model())
"""


def test_no_process_is_left_if_the_first_is_killed(prepared_folder, tmp_path):
    first = subprocess.Popen(
        [sys.executable, "-c", TRAINS, str(prepared_folder), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests")])},
        stdout=subprocess.PIPE,
        text=True,
    )
    with first:
        assert any(line.startswith("epoch 1/1000") for line in first.stdout)
        following = psutil.Process(first.pid).children()
        assert len(following) == 1
        first.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(following, timeout=10)
    assert not alive
