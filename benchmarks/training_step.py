"""How long a training step takes: ours, beside keras' own layers and Adam and beside torchvision.

    python benchmarks/training_step.py [--size 128] [--batch 32] [--rounds 5] [--backbones resnet34 ...]

Keras runs on the backend that KERAS_BACKEND names, or the first that is installed.

Writes benchmarks/results/training_step.csv, a row a backbone and contender: milliseconds a step (median, least, most),
images a second, speed (the median over rounds of the peer's time over the contender's), seconds of the first step,
which traces, and the machine's cores and load before it began. The peer is torchvision, eager, channels_last, where
PyTorch is installed, else keras' own layers. A step is forward, cross-entropy, backward and Adam, on one batch.

Each contender is a process of its own, that no other's threads or libraries disturb. Every round lets each of them
take one step, in turn, as timings on a shared machine swing by a factor of two; on a busy one nothing can be read
from them.
"""

import argparse
import importlib.util
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from lungkeras.files import write_csv

RESULTS = Path(__file__).parent / "results" / "training_step.csv"
BACKBONES = ("resnet34", "mobilenet_v3_large", "efficientnet_b1")
CLASSES = 3
LEARNING_RATE = 0.001


def batch_of(size: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Scans, uint8 (batch, size, size, 1), and labels, float32 (batch, classes)."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch, size, size, 1), dtype=np.uint8)
    return images, np.eye(CLASSES, dtype="float32")[generator.integers(0, CLASSES, batch)]


def lungkeras_step(backbone: str, images: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    import keras

    from lungkeras.models import build_model
    from lungkeras.optimizers import adam

    model = build_model(backbone, CLASSES, "multiclass", image_size=images.shape[1], seed=0)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(adam(LEARNING_RATE), loss)
    return lambda: model.train_on_batch(images, labels)


def keras_step(backbone: str, images: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    import keras

    from lungkeras import layers, optimizers

    layers.FAST.clear()  # so that every layer stays keras' own
    optimizers.FusedAdam = keras.optimizers.Adam
    return lungkeras_step(backbone, images, labels)


def torchvision_step(backbone: str, images: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    import torch
    import torchvision

    model = torchvision.models.get_model(backbone, num_classes=CLASSES).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    scans, truth = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)

    def step():
        inputs = ((scans.float() - 127.5) / 64.0).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        loss = torch.nn.functional.cross_entropy(model(inputs), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


CONTENDERS = {"lungkeras": lungkeras_step, "keras": keras_step, "torchvision": torchvision_step}


def contend(pipe, contender: str, backbone: str, size: int, batch: int) -> None:
    """A process: takes a step, and sends its seconds, whenever it is asked for one."""
    step = CONTENDERS[contender](backbone, *batch_of(size, batch))
    while pipe.recv():
        started = time.perf_counter()
        step()
        pipe.send(time.perf_counter() - started)


def measure(contenders: list[str], backbone: str, size: int, batch: int, rounds: int) -> pd.DataFrame:
    """Seconds of a step: a column a contender; the first row traces, the second warms up, `rounds` rows follow."""
    context, pipes = multiprocessing.get_context("spawn"), {}
    for contender in contenders:
        pipes[contender], theirs = context.Pipe()
        context.Process(target=contend, args=(theirs, contender, backbone, size, batch), daemon=True).start()

    def ask(pipe) -> float:
        pipe.send(True)
        return pipe.recv()

    seconds = pd.DataFrame([{name: ask(pipe) for name, pipe in pipes.items()} for _ in range(rounds + 2)])
    for pipe in pipes.values():
        pipe.send(False)
    return seconds


def summarise(seconds: pd.DataFrame, batch: int) -> list[dict]:
    """A row a contender; the last is the peer."""
    peer, steady = seconds.columns[-1], seconds[2:]
    return [
        {
            "contender": name,
            "median_ms": round(1000 * steady[name].median(), 1),
            "least_ms": round(1000 * steady[name].min(), 1),
            "most_ms": round(1000 * steady[name].max(), 1),
            "images_a_second": round(batch / steady[name].median(), 1),
            "peer": peer,
            "speed": round((steady[peer] / steady[name]).median(), 2),
            "first_step_s": round(seconds[name][0], 1),
        }
        for name in seconds
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default 128)")
    parser.add_argument("--batch", type=int, default=32, help="scans a step (default 32)")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each contender (default 5)")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, choices=BACKBONES)
    parser.add_argument("--to", type=Path, default=RESULTS, help="the CSV to write")
    options = parser.parse_args()
    contenders = ["lungkeras", "keras"] + ["torchvision"] * (importlib.util.find_spec("torchvision") is not None)
    rows = []
    for backbone in options.backbones:
        setting = {"backbone": backbone, "size": options.size, "batch": options.batch, "rounds": options.rounds}
        setting |= {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 1)}
        seconds = measure(contenders, backbone, options.size, options.batch, options.rounds)
        rows += [setting | row for row in summarise(seconds, options.batch)]
        print(pd.DataFrame(rows[-len(contenders) :]).to_string(index=False), flush=True)
        write_csv(options.to, pd.DataFrame(rows))


if __name__ == "__main__":
    main()
