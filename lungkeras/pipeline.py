"""Prepared dataset -> batches.

Images stay on disk: a batch is gathered from the memory-mapped array when its turn comes. `Batches` says what is in
which batch; tf.data on TensorFlow, elsewhere a keras.utils.PyDataset with threads, read it ahead of the training step.
"""

import functools
import math
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras import devices, places, safe_json, safe_tables
from lungkeras.errors import RunError
from lungkeras.files import glance
from lungkeras.fingerprints import changed_files
from lungkeras.inert import say

SPLITS = ("train", "val", "test")
WORKERS = 2  # threads that gather batches where tf.data does not
BATCHES_AHEAD = 4
ALIGNED_BYTES = 64


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
    """Opens what `preparation.prepare_dataset` wrote.

    Raises RunError, with the command that prepares it again, where a part is missing, cut, of another type or shape, or
    swapped with another. A file whose bytes have changed is taken as it is, since someone may have mended it; that is
    said on stderr.
    """
    folder = Path(folder)
    try:
        statistics = safe_json.loads((folder / "statistics.json").read_text(encoding="utf-8"))
        prepared = Prepared(
            name=statistics["dataset"],
            task=statistics["task"],
            classes=tuple(statistics["classes"]),
            size=statistics["size"],
            mean=statistics["mean"],
            std=statistics["std"],
            records=pd.DataFrame(),
            images={},
            source=statistics.get("source", ""),
            drawn=statistics.get("drawn", False),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{folder} is no prepared dataset: it holds {glance(folder)}. "
            f"Prepare one: lungkeras prepare DATASET --source DIR --to {folder}"
        ) from error
    again = (
        f"Prepare it again: lungkeras prepare {prepared.name} "
        f"--source {shlex.quote(str(places.find(prepared.source) or 'DIR'))} "
        f"--to {shlex.quote(str(folder))} --size {prepared.size}"
    )
    try:
        prepared = replace(prepared, records=_open_records(folder / "records.parquet", prepared))
        images = {split: _open_array(folder / f"{split}.npy", prepared, split) for split in SPLITS}
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is damaged: {error}. {again}") from error
    changed = changed_files(folder, statistics.get("files", {}))
    for name, owner in changed.items():
        if owner:
            raise RunError(f"{folder / name} holds what {owner} held when it was prepared. {again}")
    if changed:
        say(f"{folder}: {', '.join(changed)} changed since it was prepared, and is taken as it is", file=sys.stderr)
    return replace(prepared, images=images)


def _open_records(file: Path, prepared: Prepared) -> pd.DataFrame:
    """The records. Raises OSError or ValueError, naming the file, for what they should not be."""
    try:
        records = safe_tables.read_parquet(file)
    except ValueError as error:
        raise ValueError(f"{file.name} can't be opened ({error})") from error
    if missing := [name for name in ("scan", "split", *prepared.classes) if name not in records]:
        raise ValueError(f"{file.name} has no column {missing[0]}")
    return records


def _open_array(file: Path, prepared: Prepared, split: str) -> np.ndarray:
    """The memory-mapped array of a split. Raises OSError or ValueError, naming the file, for what it should not be."""
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except ValueError as error:  # cut, no array, or one of Python's objects
        raise ValueError(f"{file.name} can't be opened ({error})") from error
    expected = (len(prepared.split(split)), prepared.size, prepared.size)
    if (array.dtype, array.shape) != (np.uint8, expected):
        found = f"has the shape {array.shape} of {array.dtype}"
        raise ValueError(f"{file.name} {found}, the records and statistics say {expected} of uint8")
    if (spare := file.stat().st_size - array.offset - array.nbytes) > 0:
        raise ValueError(f"{file.name} is {spare:,} bytes longer than its array")
    return array


def steps(images: np.ndarray, batch_size: int) -> int:
    """Batches in an epoch; the last one may be short."""
    return math.ceil(len(images) / batch_size)


@dataclass(frozen=True)
class Batches:
    """A sequence of batches: all steps of all epochs from `first_epoch` on, or one pass in order where seed is None.

    An item is (images uint8 (batch, height, width, 1), labels float32 (batch, classes)), or the images alone where
    labels is None. With `augmented`, each scan has undergone those transforms of `augmentation` that its chances say.
    Order and chances of an epoch are drawn from (seed, epoch) alone, so a resumed run, any backend and any number of
    devices see the same.

    Every batch divides evenly among `devices`. One that would not is repeated until it does, which leaves its mean and
    its batch statistics as they are; without labels, a last one is filled up with its last scan. With `share`, an item
    is what that device sees of the batch.
    """

    images: np.ndarray
    labels: np.ndarray | None
    batch_size: int
    seed: int | None = None
    epochs: int = 1
    first_epoch: int = 0
    augmented: bool = False
    devices: int = 1
    share: int | None = None

    def __len__(self) -> int:
        return steps(self.images, self.batch_size) * (self.epochs - self.first_epoch)

    def __getitem__(self, step: int) -> tuple | np.ndarray:
        if not 0 <= step < len(self):
            raise IndexError(step)
        epoch, step = divmod(step, steps(self.images, self.batch_size))
        epoch += self.first_epoch
        order = scan_order(len(self.images), self.seed, epoch)
        chosen = self._divisible(order[step * self.batch_size : (step + 1) * self.batch_size])
        if self.share is not None:
            chosen = np.split(chosen, self.devices)[self.share]
        images = gathered(self.images, chosen)
        if self.augmented:
            from lungkeras.augmentation import TRANSFORMS, augment

            augment(images, scan_chances(len(self.images), TRANSFORMS, self.seed, epoch)[chosen])
        images = images[..., None]
        return images if self.labels is None else (images, self.labels[chosen])

    def _divisible(self, chosen: np.ndarray) -> np.ndarray:
        if self.labels is None:
            return np.pad(chosen, (0, -len(chosen) % self.devices), mode="edge")
        return np.tile(chosen, self.devices // math.gcd(len(chosen), self.devices))


def gathered(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """A copy of the chosen images, at an address from which TensorFlow takes an array without copying it again."""
    shape = (len(chosen), *images.shape[1:])
    size = math.prod(shape) * images.itemsize
    room = np.empty(size + ALIGNED_BYTES, np.uint8)
    start = -room.ctypes.data % ALIGNED_BYTES
    batch = room[start : start + size].view(images.dtype).reshape(shape)
    # Without "clip" numpy would fill a copy first, in case that a place is none.
    return np.take(images, chosen, axis=0, out=batch, mode="clip")


@functools.lru_cache(maxsize=4)
def scan_order(scans: int, seed: int | None, epoch: int) -> np.ndarray:
    """The places of the scans in the order in which an epoch shows them; as they lie where seed is None."""
    return np.arange(scans) if seed is None else np.random.default_rng([seed, epoch]).permutation(scans)


@functools.lru_cache(maxsize=4)
def scan_chances(scans: int, transforms: int, seed: int | None, epoch: int) -> np.ndarray:
    """float32 (scans, transforms) in [0, 1): what an epoch draws for each scan, in the order in which they lie."""
    # A third number, so that they do not depend on the draws of the order.
    return np.random.default_rng([seed or 0, epoch, 1]).random((scans, transforms), np.float32)


def training_batches(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    epochs: int,
    first_epoch: int = 0,
    augmented: bool = False,
):
    """Batches (images, labels) for `model.fit`, shuffled anew each epoch, as one stream over all epochs.

        model.fit(training_batches(images, labels, batch_size=32, seed=0, epochs=10), epochs=10,
                  steps_per_epoch=steps(images, 32), shuffle=False)

    To resume, give `first_epoch` here and the same as `initial_epoch` to fit. With `augmented` scans are sharpened,
    stretched and mirrored at random (`augmentation.augment`).
    """
    return stream(Batches(images, labels, batch_size, seed, epochs, first_epoch, augmented))


def evaluation_batches(images: np.ndarray, *, batch_size: int):
    """Batches of images alone, in order, for `model.predict`.

    In a `devices.scope`, where batches are filled up to divide, give predict the `evaluation_steps` and cut its answer
    to the number of images.
    """
    return stream(Batches(images, None, _multiple(batch_size)))


def evaluation_steps(images: np.ndarray, *, batch_size: int) -> int:
    """Batches that `evaluation_batches` gives."""
    return steps(images, _multiple(batch_size))


def _multiple(batch_size: int) -> int:
    count = devices.sharing()
    return math.ceil(batch_size / count) * count


def stream(batches: Batches):
    """What Keras iterates: a tf.data.Dataset on the TensorFlow backend, a keras.utils.PyDataset on others.

    In a `devices.scope` the devices share each batch.
    """
    import keras

    batches = replace(batches, devices=devices.sharing())
    if keras.backend.backend() == "tensorflow":
        return tensorflow_dataset(batches)
    # Of processes that train together, one evaluates.
    return python_dataset(batches if batches.labels is None else replace(batches, share=devices.share()))


def tensorflow_dataset(batches: Batches):
    """A tf.data.Dataset that gathers batches in order, ahead of the training step; to several devices, their shares."""
    import tensorflow as tf

    image = tf.TensorSpec((None, *batches.images.shape[1:], 1), tf.uint8)
    specs = image
    if batches.labels is not None:
        specs = (image, tf.TensorSpec((None, batches.labels.shape[1]), tf.float32))
    parts = tf.nest.flatten(specs)
    types = [part.dtype for part in parts]

    def share_of(place):
        step, share = divmod(int(place), batches.devices)
        return tf.nest.flatten(replace(batches, share=share)[step])

    def gather(place):
        arrays = tf.numpy_function(share_of, [place], types)
        shaped = [tf.ensure_shape(array, part.shape) for array, part in zip(arrays, parts, strict=True)]
        return tf.nest.pack_sequence_as(specs, shaped)

    dataset = tf.data.Dataset.range(len(batches) * batches.devices).map(gather).prefetch(2 * batches.devices)
    if batches.devices == 1:
        return dataset
    # The devices of the strategy take an element each, in turn.
    return tf.distribute.get_strategy().distribute_datasets_from_function(lambda context: dataset)


def python_dataset(batches: Batches):
    """A keras.utils.PyDataset over the same batches, in order; threads, which share the memory map, read some ahead."""
    import keras

    class PythonDataset(keras.utils.PyDataset):
        # Threads of our own: those of Keras lose the first batch of a stream where fit() builds the model with it.
        def __init__(self):
            super().__init__()
            self.pool, self.ahead = ThreadPoolExecutor(WORKERS), {}

        @property
        def num_batches(self):
            # fit() shuffles the batches of a PyDataset whose length it knows, and with them the epochs.
            return len(batches) if batches.seed is None else None

        def __getitem__(self, step):
            # On a GPU JAX asks for one batch behind the last, and does not show it.
            step %= len(batches)
            for place in range(step, min(step + BATCHES_AHEAD, len(batches))):
                if place not in self.ahead:
                    self.ahead[place] = self.pool.submit(batches.__getitem__, place)
            return self.ahead.pop(step).result()

        def __iter__(self):
            return (self[step] for step in range(len(batches)))

    return PythonDataset()
