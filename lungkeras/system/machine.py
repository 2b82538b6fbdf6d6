"""The computing environment of a run: versions, backend, devices, threads, processor."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import keras

from lungkeras.system import devices

PACKAGES = ("lungkeras", "keras", "tensorflow", "torch", "jax", "numpy", "scikit-learn", "opencv-python-headless")


def environment() -> dict:
    """What the run was trained with: versions, backend, device, threads, machine.

    On a CPU equal params, data, versions and threads give equal bits; another number of threads rounds differently.
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except ImportError:
            continue
    return {
        "backend": keras.backend.backend(),
        "devices": devices.found_devices(),
        "threads": threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "versions": versions,
    }


def threads() -> int:
    """The threads that an operation may use: from the environment of this process, else one per processor."""
    named = (os.environ.get(name) for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"))
    return next((int(number) for number in named if number and number.isdigit()), os.cpu_count() or 1)


def processor() -> str:
    """The processor's name on Linux, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} threads)" if names else platform.machine()
