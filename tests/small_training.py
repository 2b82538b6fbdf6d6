"""A run that takes seconds: its params, and a model small enough to be traced at once."""

import keras
from prepared_data import CLASSES, SIZE

from lungkeras.layers import BatchNormalization
from lungkeras.params import Params


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
