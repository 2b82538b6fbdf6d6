"""Which backend Keras runs on: TensorFlow, PyTorch or JAX. Keras reads it once, when it is imported."""

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lungkeras.system.errors import ParamsError, nearest

BACKENDS = ("tensorflow", "torch", "jax")


def is_installed(backend: str) -> bool:
    """Whether the backend's package can be imported; it is not imported to find out."""
    try:
        return importlib.util.find_spec(backend) is not None
    except ImportError:
        return False


def running_backend() -> str | None:
    """The backend of Keras if it is already imported; else None."""
    keras = sys.modules.get("keras")
    return keras.backend.backend() if hasattr(keras, "backend") else None


def default_backend() -> str:
    """The backend that Keras already runs on, else $KERAS_BACKEND, else the first installed one of BACKENDS.

    keras.json is ignored: Keras writes it by itself, so it does not show the user's choice.
    """
    installed = (backend for backend in BACKENDS if is_installed(backend))
    return running_backend() or os.environ.get("KERAS_BACKEND") or next(installed, BACKENDS[0])


def require_backend(backend: str) -> str:
    """The backend, if it is known and installed; else raises ParamsError."""
    if backend not in BACKENDS:
        raise ParamsError(
            f"backend: expected one of {', '.join(BACKENDS)}{nearest(backend, BACKENDS)}, found {backend!r}"
        )
    if not is_installed(backend):
        raise ParamsError(f'backend: {backend} is not installed; pip install "lungkeras[{backend}]", or name another')
    return backend


def choose_backend(backend: str | None = None) -> str:
    """Sets the backend for Keras before its import, the default one if None, and returns its name.

    Call it before anything that imports Keras. Raises ParamsError if the backend is unknown or not installed, or if
    Keras already runs on another one.
    """
    backend = require_backend(backend or default_backend())
    running = running_backend()
    if running not in (None, backend):
        raise ParamsError(
            f"backend: {backend} was requested, but this process already runs Keras on {running}: "
            f"start it again with KERAS_BACKEND={backend}"
        )
    os.environ["KERAS_BACKEND"] = backend
    return backend


def use_backend(backend: str | None = None) -> str:
    """`choose_backend`, then imports Keras and its backend, without TensorFlow's messages about missing GPUs.

    Keras is imported without scikit-learn and matplotlib if these are not imported yet, which saves seconds;
    keras.wrappers and keras.visualization are then unavailable.
    """
    backend = choose_backend(backend)
    if running_backend() is None:
        with _held_back(), _hidden("sklearn", "matplotlib"):
            import keras

            # TensorFlow looks for a GPU when its devices are first listed, and prints its messages then.
            if backend == "tensorflow":
                keras.distribution.list_devices()
    return backend


def has_nvidia_gpu() -> bool:
    """Whether the machine shows an NVIDIA GPU: its device file, or the driver's own program."""
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Within the block these packages can't be imported, unless they already are, so optional uses are skipped."""
    hidden = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]


@contextmanager
def _held_back() -> Iterator[None]:
    """Holds back what libraries write to file descriptor 2, which is below sys.stderr.

    It is shown if the block fails, or if there is a GPU, as it may explain why the GPU is not found.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as output:
        show = True
        try:
            os.dup2(output.fileno(), 2)
            yield
            show = has_nvidia_gpu()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if show:
                output.seek(0)
                sys.stderr.write(output.read().decode(errors="replace"))
