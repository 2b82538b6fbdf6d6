"""A run that takes seconds: its params, a model small enough to be traced at once, and its interruption."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import pytest
from prepared_data import CLASSES, SIZE

from lungkeras.models.layers import BatchNormalization
from lungkeras.study.params import Params
from lungkeras.training import progress


def params_of(prepared_folder, runs, **changes) -> Params:
    shared = {"prepared": str(prepared_folder.parent), "runs": str(runs), "image_size": SIZE, "backbone": "resnet34"}
    return Params(**shared | {"epochs": 2, "batch_size": 8, "batch_norm_momentum": 0.5} | changes)


def small_model() -> keras.Model:
    """A model with all that training must carry over a break: moving statistics and a random layer."""
    keras.utils.set_random_seed(0)
    images = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    features = keras.layers.Rescaling(1 / 75.0, -119.5 / 75.0)(images)
    features = keras.layers.Conv2D(8, 3, strides=2)(features)
    features = BatchNormalization(momentum=0.5)(features)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(features))
    features = keras.layers.Dropout(0.2, seed=1)(features)
    return keras.Model(images, keras.layers.Dense(len(CLASSES), name="logits")(features))


class Interrupted(Exception):
    pass


@contextmanager
def interrupted(monkeypatch, before: int) -> Iterator[None]:
    """The block trains until an epoch would begin; each epoch ends with a checkpoint, now and later in the test."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    begin = progress.Progress.on_epoch_begin

    def interrupt(self, epoch, logs=None):
        if epoch == before:
            raise Interrupted
        begin(self, epoch, logs)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(progress.Progress, "on_epoch_begin", interrupt)
        yield
