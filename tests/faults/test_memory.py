"""Memory runs out, or would if it grew with the collection: a sentence or a whole result, never half of one."""

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from folder_contents import contents, strays

from lungkeras.datasets.phantoms.phantom import draw_source

GIGABYTE = 2**30


def prepare(source: Path, to: Path, *, limit: int | None = None) -> tuple[subprocess.CompletedProcess, int]:
    """`lungkeras prepare` within `limit` bytes (`ulimit -v`), and the most bytes that one process held."""
    command = [sys.executable, "-m", "lungkeras", "prepare", "pneumonia", "--size", "32"]
    command += ["--source", str(source), "--to", str(to)]
    if limit:  # by a shell: JAX warns of a fork
        command = ["sh", "-c", f'ulimit -v {limit // 1024}; exec "$@"', "sh", *command]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    most = 0
    while process.poll() is None:
        most = max(most, held(psutil.Process(process.pid)))
        time.sleep(0.1)
    return subprocess.CompletedProcess(command, process.returncode, stderr=process.stderr.read()), most


def held(process: psutil.Process) -> int:
    """The most that a process, or one that it started and is there still, has held of memory, in bytes."""
    try:
        family = [process, *process.children(recursive=True)]
        return max(each.memory_info().rss for each in family)
    except psutil.NoSuchProcess:
        return 0


@pytest.mark.faults
def test_a_hundred_thousand_scans_take_no_gigabyte(tmp_path, injected):
    folder = tmp_path / "source" / "chest_xray" / "train"
    names = {"NORMAL": "IM-{}-0001", "PNEUMONIA": "person{}_bacteria_1", "PNEUMONIA/": "person{}_virus_1"}
    for kind in names:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(1000):  # a thousand scans under a hundred names each
        kind = list(names)[number % 3]
        first = folder / kind / f"{names[kind].format(number)}.png"
        cv2.imwrite(str(first), random.integers(0, 256, (16, 16), np.uint8))
        for copy in range(1, 100):
            os.link(first, folder / kind / f"{names[kind].format(number + 1000 * copy)}.png")
    done, most = prepare(tmp_path / "source", tmp_path / "prepared")
    assert done.returncode == 0, done.stderr
    assert (
        sum(len(np.load(tmp_path / "prepared" / f"{split}.npy", mmap_mode="r")) for split in ("train", "val", "test"))
        == 100_000
    )
    assert most < GIGABYTE
    injected("scans in one collection, in less than a gigabyte", 100_000)


@pytest.mark.parametrize(
    "gigabytes", [1.0, *(pytest.param(most, marks=pytest.mark.faults) for most in (1.2, 2.0, 4.0))]
)
def test_a_preparation_that_lacks_memory_is_a_sentence_or_a_whole_folder(gigabytes, tmp_path, injected):
    source, to = draw_source("pneumonia", tmp_path / "source", scans=40), tmp_path / "made" / "pneumonia"
    done, _ = prepare(source, to, limit=int(gigabytes * GIGABYTE))
    if done.returncode == 0:
        whole, _ = prepare(source, tmp_path / "whole")
        assert whole.returncode == 0 and contents(to) == contents(tmp_path / "whole")
    else:
        assert done.returncode == 1 and not to.exists() and not strays(tmp_path)
        assert done.stderr.splitlines()[-1].startswith("lungkeras: not enough memory: try a smaller")
        assert "Traceback" not in done.stderr
    injected("processes that lack memory", 1)
