"""Which backend Keras runs on, and the package on each. Keras reads it once, so many a test is a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from other_backends import starts_another
from prepared_data import write_prepared

from lungkeras.study.params import Params
from lungkeras.study.params_files import load_params
from lungkeras.system import backends
from lungkeras.system.errors import ParamsError
from lungkeras.system.processes import variables

CHECKOUT = Path(__file__).resolve().parents[2]
BACKEND = keras.backend.backend()
OTHER = next(name for name in backends.BACKENDS if name != BACKEND)
WITHOUT_TENSORFLOW = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec

def find_another(name, path=None, target=None):
    return None if name.split(".")[0] in ("tensorflow", "tf_keras_vis") else find(name, path, target)

PathFinder.find_spec = staticmethod(find_another)
"""
EVERY_MODULE = """
import importlib, pkgutil
import lungkeras
import keras

for module in pkgutil.walk_packages(lungkeras.__path__, "lungkeras."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert keras.backend.backend() != "tensorflow"

import numpy as np
scans = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
model = lungkeras.build_model("mobilenet_v3_large", 3, "multiclass", image_size=32, seed=0)
assert lungkeras.grad_cam(model, scans, [0, 1, 2]).shape == scans.shape
assert lungkeras.Augmentation(seed=0)(scans[..., None], training=True).shape == (3, 32, 32, 1)
"""


def in_process(*arguments, backend: str | None = None, cwd=CHECKOUT) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    environment.pop("KERAS_BACKEND", None)
    environment |= {"KERAS_BACKEND": backend} if backend else {}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, check=False, capture_output=True, text=True
    )


def another_backend() -> str:
    """An installed backend that is not TensorFlow, or a skip."""
    found = [name for name in ("torch", "jax") if backends.is_installed(name)]
    if not found:
        pytest.skip('neither PyTorch nor JAX is installed: pip install "lungkeras[jax]"')
    return BACKEND if BACKEND in found else found[0]


@starts_another
def test_every_module_works_where_tensorflow_is_not_installed():
    done = in_process("-c", WITHOUT_TENSORFLOW + EVERY_MODULE, backend=another_backend())
    assert done.returncode == 0, done.stderr


@starts_another
def test_without_a_word_the_first_installed_backend_is_taken():
    expected = next(name for name in ("torch", "jax") if backends.is_installed(name)) if another_backend() else None
    code = WITHOUT_TENSORFLOW + "import lungkeras, keras; print(keras.backend.backend())"
    assert in_process("-c", code).stdout.strip() == expected


@pytest.mark.skipif(backends.has_nvidia_gpu(), reason="where a GPU is, what libraries say of it is shown")
def test_keras_starts_without_a_word_and_a_start_that_fails_shows_all():
    done = in_process("-c", "import lungkeras; print(lungkeras.use_backend())", backend=BACKEND)
    assert (done.stdout.strip(), done.stderr) == (BACKEND, "")
    code = "with backends._held_back():\n    os.write(2, b'said')\n    raise KeyError"
    done = in_process("-c", f"import os; from lungkeras.system import backends\n{code}")
    assert "said" in done.stderr and "KeyError" in done.stderr


def test_params_beat_the_environment_and_a_command_beats_both(tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "running_backend", lambda: None)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    file = tmp_path / "study.yaml"
    file.write_text("epochs: 1\n")
    assert load_params([file]).backend == Params().backend == "jax"
    file.write_text("backend: torch\n")
    assert load_params([file]).backend == "torch"
    assert load_params([file], backend="tensorflow").backend == "tensorflow"


@starts_another
def test_the_params_of_a_notebook_choose_the_backend_before_keras_is_imported():
    backend = another_backend()
    code = f"""
import lungkeras
backend = "{backend}"
params = lungkeras.Params.collect(globals())
import keras
print(params.backend, keras.backend.backend())
"""
    assert in_process("-c", code).stdout.split() == [backend, backend]


def test_a_backend_that_comes_too_late_is_one_sentence():
    assert backends.use_backend(BACKEND) == backends.use_backend() == BACKEND
    if not backends.is_installed(OTHER):
        pytest.skip(f"{OTHER} is not installed")
    with pytest.raises(
        ParamsError,
        match=f"{OTHER} was requested, but this process already runs Keras on {BACKEND}.*KERAS_BACKEND={OTHER}",
    ):
        backends.use_backend(OTHER)
    with pytest.raises(ParamsError, match="already runs Keras on"):
        Params.collect({"backend": OTHER})


def test_an_unknown_or_absent_backend_is_one_sentence(monkeypatch):
    with pytest.raises(ParamsError, match=r"found 'tensorflw'") as raised:
        backends.use_backend("tensorflw")
    assert "did you mean tensorflow" in str(raised.value)
    with pytest.raises(ParamsError, match="did you mean torch"):
        Params.collect({"backend": "troch"})
    monkeypatch.setattr(backends, "is_installed", lambda backend: False)
    with pytest.raises(ParamsError, match=r"jax is not installed; pip install .lungkeras\[jax\]"):
        backends.require_backend("jax")


@pytest.mark.parametrize("command", ["predict run scan.png", "evaluate run --on prepared", "train --params STUDY"])
def test_every_command_takes_a_backend_and_names_the_missing_extra(command):
    missing = [name for name in backends.BACKENDS if not backends.is_installed(name)]
    if not missing:
        pytest.skip("every backend is installed")
    words = command.replace("STUDY", "params/demo/study.yaml").split()
    done = in_process("-m", "lungkeras", *words, "--backend", missing[0])
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f'pip install "lungkeras[{missing[0]}]"' in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="elsewhere the whole suite runs on the other backend")
def test_the_fused_batch_norm_is_that_of_keras_on_another_backend_too():
    done = in_process("-m", "pytest", "tests/test_layers.py", backend=another_backend())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.costly  # the test of an interrupted run says so of a small model
@pytest.mark.skipif(BACKEND == "tensorflow", reason="there the test of an interrupted run says so")
def test_a_run_repeats_exactly(tmp_path):
    from lungkeras.training import one_run

    prepared = write_prepared(tmp_path / "prepared" / "pneumonia")
    losses = []
    for name in ("first", "second"):
        params = Params(
            prepared=str(prepared.parent), runs=str(tmp_path / name), image_size=32, epochs=2, batch_size=8,
            learning_rate=0.001,
        )  # fmt: skip
        losses.append((one_run.train(params) / "history.csv").read_text())
    histories = [np.array([line.split(",")[1:6] for line in text.splitlines()[1:]], float) for text in losses]
    np.testing.assert_allclose(*histories, rtol=1e-6)


def test_keras_is_imported_without_what_it_seldom_needs():
    code = (
        "import sys, lungkeras\n"
        "lungkeras.use_backend()\n"
        "found = {'sklearn', 'matplotlib', 'scipy.stats'} & set(sys.modules)\n"
        "import keras, matplotlib.pyplot, sklearn.base\n"
        "sys.exit(' '.join(found) or int(keras.ops.sum(keras.ops.ones(3)) != 3))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=variables())
    assert done.returncode == 0, done.stderr
