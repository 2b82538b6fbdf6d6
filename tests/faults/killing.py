"""Work that is killed on its way, as by the power or the kernel: no handler runs, nothing is cleaned up.

A child is a fork of a server that has imported all, so that a start costs no imports. It is killed at a step, the n-th
time that it opens a file below a folder to write, or makes, renames or removes one, or after some time.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["lungkeras.preparation", "lungkeras.training"])
STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree"}
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Moment:
    """When to kill: at a step, counted from 1, or after some seconds."""

    step: int = 0
    seconds: float | None = None


def moments(seed: int, number: int, steps: int, seconds: float) -> list[Moment]:
    """Half of them steps, half times, drawn from the whole of a work of so many steps and seconds."""
    rng = random.Random(seed)
    chosen = rng.sample(range(1, steps + 1), min(number // 2, steps))
    times = [Moment(seconds=rng.uniform(0, seconds)) for _ in range(number - len(chosen))]
    return [Moment(step) for step in sorted(chosen)] + times


def undisturbed(work: Callable, *arguments, folder: Path) -> tuple[int, float]:
    """Does the work in a child; returns the steps and the seconds that it took."""
    child, receiver = _start(work, arguments, folder, 0)
    started = receiver.recv()
    steps = receiver.recv()
    seconds = time.monotonic() - started
    child.join()
    assert child.exitcode == 0
    return steps, seconds


def killed(work: Callable, *arguments, folder: Path, at: Moment) -> None:
    """Does the work in a child that is killed at a moment, unless it ends before."""
    child, receiver = _start(work, arguments, folder, at.step)
    if at.seconds is not None:
        receiver.recv()
        time.sleep(at.seconds)
        child.kill()
    child.join(timeout=300)
    assert child.exitcode == -signal.SIGKILL or (at.seconds is not None and child.exitcode == 0)


def _start(work: Callable, arguments: tuple, folder: Path, step: int):
    receiver, sender = SERVER.Pipe(duplex=False)
    child = SERVER.Process(target=_work, args=(work, arguments, str(folder.resolve()), step, sender))
    child.start()
    sender.close()
    return child, receiver


def _work(work: Callable, arguments: tuple, folder: str, step: int, sender) -> None:
    taken = 0

    def watch(event: str, details: tuple) -> None:
        nonlocal taken
        if (event == "open" and details[2] & TO_WRITE) or event in STEPS:
            place = details[0]
            if isinstance(place, str | os.PathLike) and os.path.abspath(place).startswith(folder):
                taken += 1
                if taken == step:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    sender.send(time.monotonic())
    work(*arguments)
    sender.send(taken)
