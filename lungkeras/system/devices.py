"""Which devices Keras trains on, one or several at once."""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from lungkeras.system.backends import has_nvidia_gpu, running_backend
from lungkeras.system.errors import ParamsError

TITLES = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX"}


def found_devices() -> list[str]:
    """The devices of Keras: the accelerators that its backend sees, else the processors, as in ["gpu:0", "gpu:1"]."""
    import keras

    if keras.backend.backend() != "torch":
        return keras.distribution.list_devices()
    import torch

    if torch.cuda.is_available():
        return [f"gpu:{number}" for number in range(torch.cuda.device_count())]
    return ["mps:0" if torch.backends.mps.is_available() else "cpu:0"]


def chosen_devices(devices: int | str) -> list[str]:
    """The devices requested by `devices`, a number or "all".

    Raises ParamsError if there are fewer.
    """
    found = found_devices()
    count = len(found) if devices == "all" else devices
    if count > len(found):
        raise ParamsError(f"devices: {count} were requested, {title()} finds {len(found)}: {', '.join(found)}")
    return found[:count]


@contextmanager
def scope(devices: int | str) -> Iterator[list[str]]:
    """Within the block, models are built and trained on all these devices, which share each batch.

    JAX uses keras.distribution.DataParallel, TensorFlow tf.distribute.MirroredStrategy; on PyTorch each device has a
    process, started by training (lungkeras.system.replicas).
    """
    chosen = chosen_devices(devices)
    one_a_process = len(chosen) == 1 or running_backend() == "torch"
    with nullcontext() if one_a_process else _strategy(tuple(chosen)).scope():
        yield chosen


@functools.cache
def _strategy(chosen: tuple[str, ...]):
    """The distribution strategy; one per process, as TensorFlow identifies a strategy by its object."""
    import keras

    if keras.backend.backend() == "jax":
        return keras.distribution.DataParallel(devices=list(chosen))
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([name.upper() for name in chosen])


def sharing() -> int:
    """How many devices share a batch here: those of the enclosing scope, else one."""
    if running_backend() == "jax":
        import keras

        distribution = keras.distribution.distribution()
        return distribution.num_model_replicas if distribution else 1
    if running_backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    group = _processes()
    return group.get_world_size() if group else 1


def share() -> int | None:
    """Which share of each batch is this process's, where devices are processes; None elsewhere."""
    group = _processes()
    return group.get_rank() if group else None


def _processes():
    """torch.distributed, where processes train together."""
    if running_backend() != "torch":
        return None
    from torch import distributed

    return distributed if distributed.is_available() and distributed.is_initialized() else None


def title() -> str:
    """The name of the backend that Keras runs on, as its makers write it."""
    return TITLES[running_backend()]


def announce(chosen: list[str], precision: str) -> str:
    """One line on the device of a run; warns if the machine has an NVIDIA GPU that Keras does not see."""
    if not any(name.startswith("gpu") for name in found_devices()) and has_nvidia_gpu():
        warnings.warn(
            f"an NVIDIA GPU is in this machine, but {title()} does not see it: training runs on {', '.join(chosen)}. "
            f"Install {title()} with CUDA, or check the driver with nvidia-smi.",
            stacklevel=2,
        )
    return f"{title()} on {', '.join(chosen)}, {precision}"
