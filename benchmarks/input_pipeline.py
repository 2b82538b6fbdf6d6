"""How fast scans are prepared, and how fast batches reach the model, beside torchvision's own transforms.

    python benchmarks/input_pipeline.py [--rounds 5] [--scans 256] [--size 224]

Writes benchmarks/results/input_pipeline.csv: a row a measurement (what, unit, median, least, most, ratio to the peer of
its kind in the same round, and the machine's cores and load before it began: beyond one process a core, neither more
workers nor threads can show). Rounds are interleaved, as timings on a shared machine swing by a factor of two.

Preparation reads drawn pneumonia scans from disk, each as a JPEG of about the size of the published ones; its peer is
the same chain on one worker. Batches are uint8 (32, size, size, 1), gathered in shuffled order from a memory-mapped
array; the peer is what a PyTorch user would write: a Dataset with the study's three transforms a scan, in a DataLoader.
Both run in this process, on the CPU: ours on all cores, the peer on one thread, which is what each worker process of a
DataLoader has (n of them are at most n times as fast).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch  # before TensorFlow: loaded after it, torch's compiler ends the process
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import pandas as pd

from lungkeras.augmentation import Augmentation
from lungkeras.datasets.phantom import draw_source
from lungkeras.files import write_csv
from lungkeras.opencv import cv2
from lungkeras.pipeline import training_batches
from lungkeras.preparation import fill

RESULTS = Path(__file__).parent / "results" / "input_pipeline.csv"
BATCH = 32
PUBLISHED_PIXELS = (1300, 1000)  # the median of the pneumonia collection, width and height


class Scans(torch.utils.data.Dataset):
    """Scans of a memory-mapped array, each through torchvision's transforms."""

    def __init__(self, images: np.ndarray, transforms):
        self.images, self.transforms = images, transforms

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return self.transforms(torch.from_numpy(self.images[row].copy())[None])


def source_scans(folder: Path, scans: int) -> list[Path]:
    """Drawn scans, enlarged to the published size."""
    paths = sorted(draw_source("pneumonia", folder, scans=scans).rglob("*.jpeg"))
    for path in paths:
        enlarged = cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), PUBLISHED_PIXELS)
        cv2.imwrite(str(path), enlarged)
    return paths


def ours(images: np.ndarray, augment: bool) -> Callable[[], object]:
    """One epoch of our batches; with `augment`, through the compiled augmentation."""
    labels = np.zeros((len(images), 3), np.float32)
    augmentation = Augmentation(seed=0)
    compiled = compile_step(augmentation)
    compiled(np.zeros((BATCH, *images.shape[1:], 1), np.uint8))

    def epoch():
        for batch, _ in training_batches(images, labels, batch_size=BATCH, seed=0, epochs=1):
            if augment:
                last = compiled(batch)
        return keras.ops.convert_to_numpy(last) if augment else None

    return epoch


def compile_step(augmentation: Augmentation) -> Callable:
    """The augmentation as a compiled training step runs it."""
    import tensorflow as tf

    return tf.function(lambda images: augmentation(images, training=True), reduce_retracing=True)


def theirs(images: np.ndarray, augment: bool) -> Callable[[], object]:
    """One epoch of torchvision's, scan by scan, in a DataLoader without worker processes."""
    chosen = [v2.RandomAdjustSharpness(2, p=0.5), v2.RandomAutocontrast(p=0.5), v2.RandomHorizontalFlip(p=0.5)]
    transforms = v2.Compose(chosen) if augment else v2.Identity()
    loader = torch.utils.data.DataLoader(Scans(images, transforms), batch_size=BATCH, shuffle=True)
    return lambda: [None for _ in loader]


def scans_a_second(work: Callable[[], object], scans: int) -> float:
    start = time.perf_counter()
    work()
    return scans / (time.perf_counter() - start)


def measure(kinds: dict[str, dict[str, tuple[Callable[[], object], int]]], rounds: int) -> pd.DataFrame:
    """Runs all once to warm up, then in interleaved rounds; the last of each kind is the peer of the others."""
    found = []
    for turn in range(rounds + 1):
        for kind, works in kinds.items():
            speeds = {what: scans_a_second(*work) for what, work in works.items()}
            peer = list(speeds.values())[-1]
            if turn:
                found += [(kind, what, speed, speed / peer) for what, speed in speeds.items()]
    table = pd.DataFrame(found, columns=["kind", "what", "speed", "ratio"])
    groups = table.groupby(["kind", "what"], sort=False)
    return groups.agg(
        scans_a_second=("speed", "median"),
        least=("speed", "min"),
        most=("speed", "max"),
        ratio_to_peer=("ratio", "median"),
        rounds=("speed", "size"),
    ).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scans", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as folder:
        paths = source_scans(Path(folder) / "source", options.scans)
        prepared = np.zeros((len(paths), options.size, options.size), np.uint8)
        fill(prepared, paths)
        np.save(Path(folder) / "train.npy", np.concatenate([prepared] * 4))
        images = np.load(Path(folder) / "train.npy", mmap_mode="r")
        kinds = {
            "prepare": {
                f"lungkeras, {workers} worker{'s' * (workers > 1)}": (
                    lambda workers=workers: fill(prepared, paths, workers),
                    len(paths),
                )
                for workers in (2, 1)
            },
            "batches": {
                "lungkeras, tf.data": (ours(images, False), len(images)),
                "torchvision, DataLoader": (theirs(images, False), len(images)),
            },
            "batches, augmented": {
                "lungkeras, tf.data": (ours(images, True), len(images)),
                "torchvision, DataLoader": (theirs(images, True), len(images)),
            },
        }
        table = measure(kinds, options.rounds)
    table = table.assign(size=options.size, cores=os.cpu_count(), load_average=load).round(
        {"scans_a_second": 1, "least": 1, "most": 1, "ratio_to_peer": 2}
    )
    write_csv(RESULTS, table)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
