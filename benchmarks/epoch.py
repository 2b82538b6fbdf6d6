"""How long an epoch of training takes end to end, beside torchvision: reading, augmentation, steps.

    python benchmarks/epoch.py [--size 128] [--batch 32] [--scans 640] [--rounds 4] [--backbones resnet34 ...]
    KERAS_BACKEND=jax python benchmarks/epoch.py --device gpu --size 224 --scans 6400

Both train on the same memory-mapped array of scans, with the study's three transforms, Adam and a cosine. Ours is what
`lungkeras train` fits, without the validation at the end of an epoch; the peer is what a PyTorch user would write: a
Dataset, a DataLoader with a worker, torchvision's transforms and model, channels_last. On a GPU, both compute in 16
bits (see training_step.py). They take turns, an epoch each.

Writes benchmarks/results/epoch.csv, with the columns of training_step.csv; milliseconds are those of an epoch.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import DEVICES, arguments, beside_peer, in_turn, write
from training_step import CLASSES, LEARNING_RATE, torchvision_trainer

from lungkeras.models.architectures import STUDY as BACKBONES

NAMES = ("bacterial_pneumonia", "viral_pneumonia", "normal")
EPOCHS = 1000  # of the cosine; no more than a few are run


def lungkeras_epoch(backbone: str, folder: str, batch: int, device: str, workers: int) -> Callable[[], object]:
    from lungkeras import training
    from lungkeras.preparation.folder import Prepared
    from lungkeras.study.params import Params
    from lungkeras.training.pipeline import steps, training_batches

    images, labels = scans_in(folder)
    records = pd.DataFrame(labels, columns=list(NAMES)).assign(split="train")
    prepared = Prepared("pneumonia", "multiclass", NAMES, images.shape[1], 127.5, 64.0, records, {"train": images})
    params = Params(
        backbone=backbone,
        image_size=images.shape[1],
        batch_size=batch,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        precision="mixed_bfloat16" if device == "gpu" else "float32",
    )
    trainer = training.compiled(training.initial_model(params, prepared), params, prepared)
    epochs = iter(range(EPOCHS))

    def epoch() -> None:
        first = next(epochs)
        batches = training_batches(
            images, labels, batch_size=batch, seed=0, first_epoch=first, epochs=first + 1, augmented=True
        )
        trainer.fit(
            batches,
            steps_per_epoch=steps(images, batch),
            initial_epoch=first,
            epochs=first + 1,
            shuffle=False,
            verbose=0,
        )

    return epoch


def torchvision_epoch(backbone: str, folder: str, batch: int, device: str, workers: int) -> Callable[[], object]:
    import torch
    from input_pipeline import augmenting, loader

    images, labels = scans_in(folder)
    step = torchvision_trainer(backbone, device)
    loaded = loader(images, labels, augmenting(), batch, workers, pin_memory=device == "gpu")

    def epoch() -> float:
        return sum(step(scans, truth) for scans, truth in loaded) / len(loaded)

    torch.manual_seed(0)
    return epoch


CONTENDERS = {"lungkeras": lungkeras_epoch, "torchvision": torchvision_epoch}


def scans_in(folder: str) -> tuple[np.ndarray, np.ndarray]:
    images = np.load(Path(folder) / "train.npy", mmap_mode="r")
    return images, np.eye(CLASSES, dtype=np.float32)[np.arange(len(images)) % CLASSES]


def main() -> None:
    parser = arguments(__doc__, "epoch.csv")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default 128)")
    parser.add_argument("--batch", type=int, default=32, help="scans a step (default 32)")
    parser.add_argument("--scans", type=int, default=640, help="scans an epoch (default 640)")
    parser.add_argument("--rounds", type=int, default=4, help="epochs that are timed of each (default 4)")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of the DataLoader (default 1)")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, choices=BACKBONES)
    parser.add_argument("--device", default="cpu", choices=DEVICES)
    options = parser.parse_args()
    if options.quick:
        options.size, options.batch, options.scans, options.rounds = 32, 8, 16, 1
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        shape = (options.scans, options.size, options.size)
        np.save(Path(folder) / "train.npy", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        for backbone in options.backbones:
            given = (backbone, folder, options.batch, options.device, options.workers)
            contenders = {name: (start, given) for name, start in CONTENDERS.items()}
            seconds = in_turn(contenders, options.rounds, device=options.device, warm=1)
            setting = {name: getattr(options, name) for name in ("size", "batch", "scans", "rounds", "workers")}
            rows += [{"backbone": backbone} | setting | row for row in beside_peer(seconds, options.scans, warm=1)]
            write(pd.DataFrame(rows), options)


if __name__ == "__main__":
    main()
