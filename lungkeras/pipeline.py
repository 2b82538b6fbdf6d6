"""Prepared dataset -> batches.

Images stay on disk: a batch is gathered from the memory-mapped array when its turn comes. `Batches` says what is in
which batch; on TensorFlow tf.data reads it ahead of the training step, elsewhere a keras.utils.PyDataset hands it out.
"""

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.errors import RunError
from lungkeras.files import glance

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset, opened.

    `mean` and `std` are those of the training split in grey levels [0, 255]; `records` has a row a scan, in the order
    of its split's array; `images` holds uint8 of shape (scans, size, size) for train, val and test, memory-mapped.
    `source` is the folder that they were read from, `drawn` whether it held phantoms.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    size: int
    mean: float
    std: float
    records: pd.DataFrame
    images: dict[str, np.ndarray]
    source: str = ""
    drawn: bool = False

    def split(self, split: str) -> pd.DataFrame:
        """The records of one split, in the order of its images."""
        return self.records[self.records["split"] == split].reset_index(drop=True)

    def labels(self, split: str) -> np.ndarray:
        """float32 of shape (scans, classes): 1 where a scan has the class, else 0."""
        return self.split(split)[list(self.classes)].to_numpy(np.float32)


def load_prepared(folder: Path | str) -> Prepared:
    """Opens what `preparation.prepare_dataset` wrote. Raises RunError where it is missing or its parts do not agree."""
    folder = Path(folder)
    try:
        statistics = json.loads((folder / "statistics.json").read_text(encoding="utf-8"))
        records = pd.read_parquet(folder / "records.parquet")
        images = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in SPLITS}
        prepared = Prepared(
            name=statistics["dataset"],
            task=statistics["task"],
            classes=tuple(statistics["classes"]),
            size=statistics["size"],
            mean=statistics["mean"],
            std=statistics["std"],
            records=records,
            images=images,
            source=statistics.get("source", ""),
            drawn=statistics.get("drawn", False),
        )
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{folder} is no prepared dataset: it holds {glance(folder)}. "
            f"Prepare one: lungkeras prepare DATASET --source DIR --to {folder}"
        ) from error
    for split, array in images.items():
        expected = (len(prepared.split(split)), prepared.size, prepared.size)
        if array.shape != expected:
            raise RunError(
                f"{folder}: {split}.npy has the shape {array.shape}, the records and statistics say {expected}. "
                f"Prepare it again: lungkeras prepare {prepared.name} --source DIR --to {folder}"
            )
    return prepared


def steps(images: np.ndarray, batch_size: int) -> int:
    """Batches in an epoch; the last one may be short."""
    return math.ceil(len(images) / batch_size)


@dataclass(frozen=True)
class Batches:
    """A sequence of batches: all steps of all epochs from `first_epoch` on, or one pass in order where seed is None.

    An item is (images uint8 (batch, height, width, 1), labels float32 (batch, classes)), or the images alone where
    labels is None. The order within an epoch is drawn from (seed, epoch) alone, so a resumed run sees what an
    uninterrupted one would have seen.
    """

    images: np.ndarray
    labels: np.ndarray | None
    batch_size: int
    seed: int | None = None
    epochs: int = 1
    first_epoch: int = 0

    def __len__(self) -> int:
        return steps(self.images, self.batch_size) * (self.epochs - self.first_epoch)

    def __getitem__(self, step: int) -> tuple[np.ndarray, ...] | np.ndarray:
        if not 0 <= step < len(self):
            raise IndexError(step)
        epoch, step = divmod(step, steps(self.images, self.batch_size))
        order = scan_order(len(self.images), self.seed, self.first_epoch + epoch)
        chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
        images = np.asarray(self.images[chosen])[..., None]
        return images if self.labels is None else (images, self.labels[chosen])


@functools.lru_cache(maxsize=4)
def scan_order(scans: int, seed: int | None, epoch: int) -> np.ndarray:
    """The places of the scans in the order in which an epoch shows them; as they lie where seed is None."""
    return np.arange(scans) if seed is None else np.random.default_rng([seed, epoch]).permutation(scans)


def training_batches(
    images: np.ndarray, labels: np.ndarray, *, batch_size: int, seed: int, epochs: int, first_epoch: int = 0
):
    """Batches (images, labels) for `model.fit`, shuffled anew each epoch, as one stream over all epochs.

        model.fit(training_batches(images, labels, batch_size=32, seed=0, epochs=10), epochs=10,
                  steps_per_epoch=steps(images, 32))

    To resume, give `first_epoch` here and the same as `initial_epoch` to fit.
    """
    return stream(Batches(images, labels, batch_size, seed, epochs, first_epoch))


def evaluation_batches(images: np.ndarray, *, batch_size: int):
    """Batches of images alone, in order, for `model.predict`."""
    return stream(Batches(images, None, batch_size))


def stream(batches: Batches):
    """What Keras iterates: a tf.data.Dataset on the TensorFlow backend, a keras.utils.PyDataset on others."""
    import keras

    return tensorflow_dataset(batches) if keras.backend.backend() == "tensorflow" else python_dataset(batches)


def tensorflow_dataset(batches: Batches):
    """A tf.data.Dataset that gathers batches in order, ahead of the training step."""
    import tensorflow as tf

    image = tf.TensorSpec((None, *batches.images.shape[1:], 1), tf.uint8)
    specs = image if batches.labels is None else (image, tf.TensorSpec((None, batches.labels.shape[1]), tf.float32))
    parts = tf.nest.flatten(specs)
    types = tf.nest.pack_sequence_as(specs, [part.dtype for part in parts])

    def gather(step):
        arrays = tf.nest.flatten(tf.numpy_function(lambda step: batches[int(step)], [step], types))
        shaped = [tf.ensure_shape(array, part.shape) for array, part in zip(arrays, parts, strict=True)]
        return tf.nest.pack_sequence_as(specs, shaped)

    return tf.data.Dataset.range(len(batches)).map(gather).prefetch(2)


def python_dataset(batches: Batches):
    """A keras.utils.PyDataset over the same batches."""
    import keras

    class PythonDataset(keras.utils.PyDataset):
        @property
        def num_batches(self):
            # fit() shuffles the batches of a PyDataset whose length it knows, and with them the epochs.
            return len(batches) if batches.seed is None else None

        def __getitem__(self, step):
            return batches[step]

        def __iter__(self):
            return (batches[step] for step in range(len(batches)))

    return PythonDataset()
