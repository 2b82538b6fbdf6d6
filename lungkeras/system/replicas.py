"""PyTorch devices that train one model: one process each, as Keras on PyTorch trains on one device per process.

Each takes its share of every batch; gradients, batch statistics and scores are those of the whole batch, so the numbers
equal those of one device. The process that called training is the first. It starts the others, and only it validates,
prints and writes; when it ends, they end. On other backends, or one device, nothing here does anything.
"""

import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import keras

from lungkeras.system import devices
from lungkeras.system.errors import RunError
from lungkeras.system.processes import ending, variables

READY = b"ready\n"
PATIENCE = timedelta(hours=1)  # the others wait while the first validates and writes
SECONDS_TO_END = 10.0


@contextmanager
def started(chosen: Sequence[str], follow: str, leave: Callable[[Path], None]) -> Iterator[None]:
    """Within the block each of the chosen devices has a process; this one is the first.

    The others run `follow`, a line of Python; `leave` writes what they need into the given folder. Raises RunError,
    with the reason, if one of them ends before this one.
    """
    if keras.backend.backend() != "torch" or len(chosen) == 1:
        yield
        return
    others: dict[str, subprocess.Popen] = {}
    with tempfile.TemporaryDirectory() as folder:
        leave(Path(folder))
        try:
            for rank, device in enumerate(chosen[1:], start=1):
                others[device] = subprocess.Popen(
                    [sys.executable, "-P", "-c", follow, folder, str(rank), str(len(chosen))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=variables(),
                )
            if any(other.stdout.readline() != READY for other in others.values()):
                raise EOFError
            _join(folder, 0, len(chosen))
            yield
        except (RuntimeError, EOFError) as error:
            if reason := _early_end(others):
                raise RunError(f"{reason}; training stopped: run the same command again to continue") from error
            raise
        finally:
            _end(others.values())
            _leave()


def _join(folder: Path | str, rank: int, count: int) -> None:
    from torch import cuda, distributed

    if cuda.is_available():
        cuda.set_device(rank)
    distributed.init_process_group(
        "nccl" if cuda.is_available() else "gloo",
        init_method=(Path(folder) / "meeting").as_uri(),
        rank=rank,
        world_size=count,
        timeout=PATIENCE,
    )


def _leave() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _early_end(others: dict[str, subprocess.Popen]) -> str | None:
    """Why a process ended early, with its device; None if all are running."""
    last = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < last:
        for device, other in others.items():
            if other.poll() is not None:
                words = other.stdout.read().decode(errors="replace").strip() or ending(other.returncode)
                return f"the process of {device} ended ({words})"
        time.sleep(0.1)
    return None


def _end(others: Sequence[subprocess.Popen]) -> None:
    for other in others:
        other.stdin.close()  # it waits for this
    for other in others:
        try:
            other.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            other.kill()
            other.wait()
        other.stdout.close()


@contextmanager
def joined() -> Iterator[Path]:
    """The block for all processes but the first: it yields the folder, and ends the process on failure."""
    folder, rank, count = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first handles it, and its end ends the others
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output printed by a library is not an answer
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        answers.write(READY)
        answers.flush()
        _join(folder, int(rank), int(count))
        yield Path(folder)
    except Exception as error:
        with suppress(BrokenPipeError):
            answers.write(f"{type(error).__name__}: {error}".encode())
            answers.flush()
        os._exit(1)  # once one process has left the group, it can't be closed cleanly
    _leave()


def _end_with_the_first() -> None:
    os.read(0, 1)  # nothing is ever written: the read returns when the other end is closed
    os._exit(1)


@contextmanager
def in_step(trainer: keras.Model, epoch: int) -> Iterator[int]:
    """Within the block a compiled model is trained with the mean of all processes' gradients.

    It starts with the variables of the first process; yields that process's epoch.
    """
    if devices.share() is None:
        yield epoch
        return
    from torch import distributed

    epoch = keras.ops.convert_to_tensor(epoch)
    for value in (epoch, *_values((*trainer.variables, *trainer.optimizer.variables))):
        distributed.broadcast(value, src=0)

    def average(weight) -> None:
        weight.grad.copy_(mean(weight.grad))

    hooks = [weight.value.register_post_accumulate_grad_hook(average) for weight in trainer.trainable_weights]
    try:
        yield int(epoch)
    finally:
        for hook in hooks:
            hook.remove()


def mean(values):
    """The mean over all processes of a tensor that each of them has; gradients pass through."""
    return _summed()(values) / devices.sharing()


@functools.cache
def _summed():
    from torch import autograd

    class Summed(autograd.Function):
        @staticmethod
        def forward(context, values):
            return _sum(values)

        @staticmethod
        def backward(context, gradient):
            # All have used the sum, so each term gets the gradients of all.
            return _sum(gradient)

    return Summed.apply


def _sum(values):
    from torch import distributed

    whole = values.contiguous().clone()
    distributed.all_reduce(whole)
    return whole


def scores(trainer: keras.Model, of_share: dict[str, float]) -> dict[str, float]:
    """The loss and metrics of an epoch over all processes; `of_share` are those of this one."""
    if devices.share() is None:
        return of_share
    for value in _values(trainer.metrics_variables):
        value.copy_(_sum(value))
    return trainer.get_metrics_result()


def _values(variables: Sequence) -> list:
    return [variable.value.detach() for variable in variables]
