"""How fast scans are prepared, and how fast batches reach the model, beside torchvision's own loader and transforms.

    python benchmarks/input_pipeline.py [--rounds 7] [--scans 256] [--size 224]

Writes benchmarks/results/input_pipeline.csv: one row per measurement: scans a second (median, least, most), scans a
second of processor time, and of both the median over rounds of the ratio to the peer of its kind in the same round.
Rounds are interleaved, as timings on a shared machine swing by a factor of two.

Preparation reads drawn pneumonia scans from disk, each as a JPEG of about the size of the published ones; its peer is
the same chain on one worker. Batches are uint8 (32, size, size, 1) and labels float32 (32, 3), gathered in shuffled
order from one memory-mapped array; the peer is what a PyTorch user would write: a Dataset with the study's three
transforms a scan, in a DataLoader. Both run in this process, on the CPU, and read on one thread: ours behind the one
that takes the batches, the DataLoader in it.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch  # before TensorFlow: loaded after it, torch's compiler ends the process
from torchvision.transforms import v2

from measuring import arguments, write  # isort: skip

import numpy as np
import pandas as pd

BATCH, CLASSES = 32, 3
PUBLISHED_PIXELS = (1300, 1000)  # the median of the pneumonia collection, width and height


class Scans(torch.utils.data.Dataset):
    """Scans of a memory-mapped array and their labels, each scan through torchvision's transforms."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transforms):
        self.images, self.labels, self.transforms = images, torch.from_numpy(labels), transforms

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return self.transforms(torch.from_numpy(self.images[row].copy())[None]), self.labels[row]


def augmenting() -> v2.Compose:
    """The study's three transforms, by torchvision."""
    chosen = [v2.RandomAdjustSharpness(2, p=0.5), v2.RandomAutocontrast(p=0.5), v2.RandomHorizontalFlip(p=0.5)]
    return v2.Compose(chosen)


def loader(images: np.ndarray, labels: np.ndarray, transforms, batch: int, workers: int = 0, **options):
    """A DataLoader of uint8 (batch, 1, H, W) and float32 (batch, classes), shuffled."""
    return torch.utils.data.DataLoader(
        Scans(images, labels, transforms),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        **options,
    )


def source_scans(folder: Path, scans: int) -> list[Path]:
    """Drawn scans, enlarged to the published size."""
    from lungkeras.datasets.phantoms.phantom import draw_source
    from lungkeras.datasets.scans.opencv import cv2

    paths = sorted(draw_source("pneumonia", folder, scans=scans).rglob("*.jpeg"))
    for path in paths:
        enlarged = cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), PUBLISHED_PIXELS)
        cv2.imwrite(str(path), enlarged)
    return paths


def ours(images: np.ndarray, labels: np.ndarray, augmented: bool) -> Callable[[], object]:
    """One epoch of our batches."""
    from lungkeras.training.pipeline import training_batches

    batches = training_batches(images, labels, batch_size=BATCH, seed=0, epochs=1, augmented=augmented)
    return lambda: [None for _ in batches]


def theirs(images: np.ndarray, labels: np.ndarray, augmented: bool) -> Callable[[], object]:
    """One epoch of torchvision's, scan by scan, in a DataLoader without worker processes."""
    batches = loader(images, labels, augmenting() if augmented else v2.Identity(), BATCH)
    return lambda: [None for _ in batches]


def speeds(work: Callable[[], object], scans: int) -> tuple[float, float]:
    """Scans a second, and scans a second of all threads' processor time."""
    started, worked = time.perf_counter(), time.process_time()
    work()
    return scans / (time.perf_counter() - started), scans / (time.process_time() - worked)


def measure(kinds: dict[str, dict[str, tuple[Callable[[], object], int]]], rounds: int) -> pd.DataFrame:
    """Runs all once to warm up, then in interleaved rounds; the last of each kind is the peer of the others."""
    found = []
    for turn in range(rounds + 1):
        for kind, works in kinds.items():
            measured = {what: speeds(*work) for what, work in works.items()}
            peer = list(measured.values())[-1]
            if turn:
                found += [(kind, what, *both, both[0] / peer[0], both[1] / peer[1]) for what, both in measured.items()]
    columns = ["kind", "what", "scans_a_second", "scans_a_processor_second", "ratio", "processor_ratio"]
    groups = pd.DataFrame(found, columns=columns).groupby(["kind", "what"], sort=False)
    table = groups.median().assign(
        least=groups["scans_a_second"].min(), most=groups["scans_a_second"].max(), rounds=rounds
    )
    return table.round({name: 2 if "ratio" in name else 1 for name in table}).reset_index()


def main() -> None:
    parser = arguments(__doc__, "input_pipeline.csv")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scans", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.scans, options.size = 1, 24, 64
    torch.set_num_threads(1)

    import lungkeras

    lungkeras.use_backend("tensorflow")

    from lungkeras.preparation.reading import fill

    with tempfile.TemporaryDirectory() as folder:
        paths = source_scans(Path(folder) / "source", options.scans)
        prepared = np.zeros((len(paths), options.size, options.size), np.uint8)
        fill(prepared, paths)
        np.save(Path(folder) / "train.npy", np.concatenate([prepared] * 4))
        images = np.load(Path(folder) / "train.npy", mmap_mode="r")
        labels = np.eye(CLASSES, dtype=np.float32)[np.arange(len(images)) % CLASSES]
        kinds = {
            "prepare": {
                f"lungkeras, {workers} worker{'s' * (workers > 1)}": (
                    lambda workers=workers: fill(prepared, paths, workers),
                    len(paths),
                )
                for workers in sorted({os.cpu_count() or 1, 1}, reverse=True)
            }
        }
        for kind, augmented in (("batches", False), ("batches, augmented", True)):
            kinds[kind] = {
                "lungkeras, tf.data": (ours(images, labels, augmented), len(images)),
                "torchvision, DataLoader": (theirs(images, labels, augmented), len(images)),
            }
        table = measure(kinds, options.rounds)
    write(table.assign(size=options.size), options)


if __name__ == "__main__":
    main()
