"""Prepared dataset -> batches.

Images stay on disk: each batch is gathered from the memory-mapped array on demand. `Batches` defines the content of
each batch; tf.data on TensorFlow, elsewhere a keras.utils.PyDataset with threads, prefetches them.
"""

import functools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from lungkeras.system import devices
from lungkeras.training.batch_memory import BatchMemory

WORKERS = 2  # threads that gather batches where tf.data does not
BATCHES_AHEAD = 4


def steps(images: np.ndarray, batch_size: int) -> int:
    """Batches in an epoch; the last one may be short."""
    return math.ceil(len(images) / batch_size)


@dataclass(frozen=True)
class Batches:
    """A sequence of batches: all steps of all epochs from `first_epoch` on, or one pass in order if seed is None.

    An item is (images uint8 (batch, height, width, 1), labels float32 (batch, classes)), or only the images if labels
    is None. With `augmented`, each scan gets those transforms of `augmentation` that its chances select. Order and
    chances of an epoch are drawn from (seed, epoch) alone, so a resumed run, any backend and any number of devices see
    the same.

    Every batch divides evenly among `devices`. One that would not is repeated until it does, which does not change its
    mean or its batch statistics; without labels, the last one is padded with its last scan. With `share`, an item is
    that device's part of the batch.
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
    memory: BatchMemory = field(default_factory=BatchMemory, repr=False, compare=False)

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
        images = self.memory.array((len(chosen), *self.images.shape[1:]), self.images.dtype)
        # Without "clip" numpy would make a copy first, in case an index is invalid.
        np.take(self.images, chosen, axis=0, out=images, mode="clip")
        if self.augmented:
            from lungkeras.augmentation import TRANSFORMS, augment

            augment(images, scan_chances(len(self.images), TRANSFORMS, self.seed, epoch)[chosen])
        images = images[..., None]
        return images if self.labels is None else (images, self.labels[chosen])

    def _divisible(self, chosen: np.ndarray) -> np.ndarray:
        if self.labels is None:
            return np.pad(chosen, (0, -len(chosen) % self.devices), mode="edge")
        return np.tile(chosen, self.devices // math.gcd(len(chosen), self.devices))


@functools.lru_cache(maxsize=4)
def scan_order(scans: int, seed: int | None, epoch: int) -> np.ndarray:
    """The indices of the scans in the order of an epoch; in storage order if seed is None."""
    return np.arange(scans) if seed is None else np.random.default_rng([seed, epoch]).permutation(scans)


@functools.lru_cache(maxsize=4)
def scan_chances(scans: int, transforms: int, seed: int | None, epoch: int) -> np.ndarray:
    """float32 (scans, transforms) in [0, 1): the draws of an epoch for each scan, in storage order."""
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
    """Batches (images, labels) for `model.fit`, reshuffled each epoch, as one stream over all epochs.

        model.fit(training_batches(images, labels, batch_size=32, seed=0, epochs=10), epochs=10,
                  steps_per_epoch=steps(images, 32), shuffle=False)

    To resume, give `first_epoch` here and the same as `initial_epoch` to fit. With `augmented` scans are sharpened,
    stretched and mirrored at random (`augmentation.augment`).
    """
    return stream(Batches(images, labels, batch_size, seed, epochs, first_epoch, augmented))


def evaluation_batches(images: np.ndarray, *, batch_size: int):
    """Batches of images alone, in order, for `model.predict`.

    In a `devices.scope`, where batches are padded to divide evenly, give predict the `evaluation_steps` and cut its
    output to the number of images.
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
    # Only one of the processes that train together evaluates.
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
    # Nothing is left to autotuning, and the end of a stream can wait for its thread as long as the stream took.
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.with_options(options)
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
            # On a GPU JAX requests one batch after the last, and does not use it.
            step %= len(batches)
            for place in range(step, min(step + BATCHES_AHEAD, len(batches))):
                if place not in self.ahead:
                    self.ahead[place] = self.pool.submit(batches.__getitem__, place)
            return self.ahead.pop(step).result()

        def __iter__(self):
            return (self[step] for step in range(len(batches)))

    return PythonDataset()
