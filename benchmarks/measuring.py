"""What the benchmarks share: contenders that take turns, and what stands beside each figure in results/.

Each contender is a process of its own, that no other's threads or libraries disturb. Every round lets each of them
work once, in turn, as timings on a shared machine swing by a factor of two; on a busy one nothing can be read from
them.
"""

import argparse
import multiprocessing
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd

from lungkeras.system.files import write_csv

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("keras", "tensorflow", "torch", "torchvision", "jax", "numpy", "scikit-learn", "opencv-python-headless")
LOAD_BEFORE = round(os.getloadavg()[0], 1)
DEVICES = ("cpu", "gpu")


def arguments(description: str, to: str) -> argparse.ArgumentParser:
    """A parser with the options that all of them have."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, to see that all works: no figures")
    parser.add_argument("--note", default="", help="what else ran on the machine, for the CSV")
    # What --quick writes is no result, and stands where it is not taken for one.
    folder = RESULTS / "quick" if "--quick" in sys.argv else RESULTS
    parser.add_argument("--to", type=Path, default=folder / to, help=f"the CSV to write (default results/{to})")
    return parser


def write(table: pd.DataFrame, options: argparse.Namespace) -> None:
    """Writes a table of results, with the processor, versions, load and command beside each row, and prints it."""
    from lungkeras.system.machine import processor

    print(table.to_string(index=False), flush=True)
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    about = {"processor": processor(), "load_before": LOAD_BEFORE, "versions": "; ".join(versions)}
    about |= {
        "note": options.note,
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
    }
    if getattr(options, "device", "cpu") == "gpu":
        about["processor"] = accelerator()
    options.to.parent.mkdir(parents=True, exist_ok=True)
    write_csv(options.to, table.assign(**about))


def accelerator() -> str:
    """The name of the first GPU, as PyTorch or JAX has it."""
    try:
        import torch

        return torch.cuda.get_device_name()
    except (ImportError, RuntimeError, AssertionError):
        import jax

        return jax.devices()[0].device_kind


def use_device(device: str) -> None:
    """Hides GPUs from this process where they are not asked for, before any framework is imported."""
    if device == "cpu":
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


def contend(pipe, device: str, start: Callable[..., Callable[[], object]], given: tuple) -> None:
    """A process: works once, and sends its seconds, whenever it is asked to. What fails is sent, too."""
    try:
        use_device(device)
        work = start(*given)
        while pipe.recv():
            started = time.perf_counter()
            work()
            pipe.send(time.perf_counter() - started)
    except Exception as error:
        pipe.send(error)
        raise


def in_turn(
    contenders: Mapping[str, tuple[Callable, tuple]], rounds: int, *, device: str = "cpu", warm: int = 2
) -> pd.DataFrame:
    """Seconds: one column per contender {name: (start, its arguments)}, where start(...) returns the work to be timed.

    The first row traces, the others of `warm` warm up, and `rounds` rows follow.
    """
    context, pipes, processes = multiprocessing.get_context("spawn"), {}, []
    for name, (start, given) in contenders.items():
        pipes[name], theirs = context.Pipe()
        # No daemons, which may not start the workers of a DataLoader.
        processes.append(context.Process(target=contend, args=(theirs, device, start, given)))
        processes[-1].start()

    def ask(name: str) -> float:
        pipes[name].send(True)
        answer = pipes[name].recv()
        if isinstance(answer, Exception):
            for process in processes:
                process.terminate()
            sys.exit(f"{name} failed: {type(answer).__name__}: {answer}")
        return answer

    seconds = pd.DataFrame([{name: ask(name) for name in pipes} for _ in range(warm + rounds)])
    for pipe in pipes.values():
        pipe.send(False)
    for process in processes:
        process.join()
    return seconds


def beside_peer(seconds: pd.DataFrame, images: int, *, warm: int = 2) -> list[dict]:
    """A row a contender; the last is the peer. `speed` is the median over rounds of the peer's time over its own."""
    peer, steady = seconds.columns[-1], seconds[warm:]
    return [
        {
            "contender": name,
            "median_ms": round(1000 * steady[name].median(), 1),
            "least_ms": round(1000 * steady[name].min(), 1),
            "most_ms": round(1000 * steady[name].max(), 1),
            "images_a_second": round(images / steady[name].median(), 1),
            "peer": peer,
            "speed": round((steady[peer] / steady[name]).median(), 2),
            "first_s": round(seconds[name][0], 1),
        }
        for name in seconds
    ]
