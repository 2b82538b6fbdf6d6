"""How long a training step takes: ours, beside keras' own layers and Adam and beside torchvision.

    python benchmarks/training_step.py [--size 128] [--batch 32] [--rounds 5] [--backbones resnet34 ...]
    KERAS_BACKEND=torch python benchmarks/training_step.py --device gpu --size 224 --batch 64

Keras runs on the backend that KERAS_BACKEND names, or the first that is installed. On a GPU, both compute in 16 bits
where that pays: ours in mixed_bfloat16, torchvision under autocast to bfloat16, channels_last, cudnn.benchmark.

Writes benchmarks/results/training_step.csv, one row per backbone and contender: milliseconds per step (median, least,
most), images a second, speed (the median over rounds of the peer's time over the contender's), seconds of the first
step, which traces. The peer is torchvision, eager, channels_last, where PyTorch is installed, else keras' own layers. A
step is forward, cross-entropy, backward and Adam, on one batch.
"""

import importlib.util
from collections.abc import Callable

import numpy as np
import pandas as pd
from measuring import DEVICES, arguments, beside_peer, in_turn, write

from lungkeras.models.architectures import STUDY as BACKBONES

CLASSES = 3
LEARNING_RATE = 0.001


def batch_of(size: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Scans, uint8 (batch, size, size, 1), and labels, float32 (batch, classes)."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch, size, size, 1), dtype=np.uint8)
    return images, np.eye(CLASSES, dtype="float32")[generator.integers(0, CLASSES, batch)]


def lungkeras_step(backbone: str, size: int, batch: int, device: str) -> Callable[[], object]:
    import keras

    from lungkeras.models.build import build_model
    from lungkeras.training.optimizers import adam

    precision = "mixed_bfloat16" if device == "gpu" else "float32"
    model = build_model(backbone, CLASSES, "multiclass", image_size=size, seed=0, precision=precision)
    model.compile(adam(LEARNING_RATE), keras.losses.CategoricalCrossentropy(from_logits=True))
    images, labels = batch_of(size, batch)
    return lambda: float(model.train_on_batch(images, labels))


def keras_step(backbone: str, size: int, batch: int, device: str) -> Callable[[], object]:
    import keras

    from lungkeras.models import layers
    from lungkeras.training import optimizers

    layers.FAST.clear()  # so that every layer stays keras' own
    optimizers.FusedAdam = keras.optimizers.Adam
    return lungkeras_step(backbone, size, batch, device)


def torchvision_trainer(backbone: str, device: str) -> Callable:
    """A function from scans, uint8 (batch, 1, H, W), and labels to the loss of a step, as a float."""
    import torch
    import torchvision

    place = "cuda" if device == "gpu" else "cpu"
    torch.backends.cudnn.benchmark = device == "gpu"
    model = torchvision.models.get_model(backbone, num_classes=CLASSES).train().to(place)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)

    def step(scans: torch.Tensor, truth: torch.Tensor) -> float:
        scans, truth = scans.to(place, non_blocking=True), truth.to(place, non_blocking=True)
        inputs = ((scans.float() - 127.5) / 64.0).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(place, torch.bfloat16, enabled=device == "gpu"):
            loss = torch.nn.functional.cross_entropy(model(inputs), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torchvision_step(backbone: str, size: int, batch: int, device: str) -> Callable[[], object]:
    import torch

    images, labels = batch_of(size, batch)
    step, scans, truth = (
        torchvision_trainer(backbone, device),
        torch.from_numpy(images).permute(0, 3, 1, 2),
        torch.from_numpy(labels),
    )
    return lambda: step(scans, truth)


CONTENDERS = {"lungkeras": lungkeras_step, "keras": keras_step, "torchvision": torchvision_step}


def main() -> None:
    parser = arguments(__doc__, "training_step.csv")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default 128)")
    parser.add_argument("--batch", type=int, default=32, help="scans a step (default 32)")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each contender (default 5)")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, choices=BACKBONES)
    parser.add_argument("--device", default="cpu", choices=DEVICES)
    options = parser.parse_args()
    if options.quick:
        options.size, options.batch, options.rounds = 32, 4, 1
    contenders = dict(CONTENDERS)
    if importlib.util.find_spec("torchvision") is None:
        del contenders["torchvision"]
    rows = []
    for backbone in options.backbones:
        given = (backbone, options.size, options.batch, options.device)
        seconds = in_turn({name: (start, given) for name, start in contenders.items()}, options.rounds,
                          device=options.device)  # fmt: skip
        setting = {"backbone": backbone, "size": options.size, "batch": options.batch, "rounds": options.rounds}
        rows += [setting | row for row in beside_peer(seconds, options.batch)]
        write(pd.DataFrame(rows), options)


if __name__ == "__main__":
    main()
