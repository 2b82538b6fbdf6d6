"""A study whose findings are known to the pixel: patches of stripes in noise, and a small network that learns them."""

import functools

import keras
import numpy as np
import pandas as pd

from lungkeras.preparation.folder import Prepared
from lungkeras.scores import metrics
from lungkeras.study.runs import Run
from lungkeras.training.outputs import outputs

SIZE = 32
CLASSES = ("bacterial_pneumonia", "viral_pneumonia", "normal")  # stripes across, stripes down, none
COUNTS = {"train": 240, "val": 45, "test": 90}
NAME = "pneumonia-resnet34-random"


def draw(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list]:
    """uint8 (count, SIZE, SIZE), class of each, and its box in pixels: left, top, right, bottom, or None.

    Stripes are no brighter than the noise around them, nor of more contrast, so that nothing but the pattern tells.
    """
    classes = np.arange(count) % 3
    images = rng.normal(0, 1, (count, SIZE, SIZE))
    boxes = []
    for image, kind in zip(images, classes, strict=True):
        if kind == 2:
            boxes.append(None)
            continue
        width, height = rng.integers(9, 13, 2)
        left, top = rng.integers(0, (SIZE - width, SIZE - height), endpoint=True)
        stripes = np.where((np.arange(SIZE) + rng.integers(2)) % 2, 0.9, -0.9)
        pattern = stripes[:, None] if kind == 0 else stripes[None]
        patch = slice(top, top + height), slice(left, left + width)
        image[patch] = np.broadcast_to(pattern, (SIZE, SIZE))[patch] + 0.44 * image[patch]
        boxes.append((left, top, left + width, top + height))
    return np.clip(127 + 40 * images, 0, 255).astype(np.uint8), classes, boxes


def small_network(seed: int = 0, size: int = SIZE, blocks=((16, 1), (16, 2), (32, 2))) -> keras.Model:
    """Three classes of scans of a size; `blocks` are (filters, strides), so that a cell of its maps is 4 pixels."""
    keras.utils.set_random_seed(seed)
    scans = keras.Input((size, size, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 40, -127 / 40)(scans)
    for filters, strides in blocks:
        x = keras.layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.8)(x))
    average = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(scans, keras.layers.Dense(len(CLASSES), name="logits")(average))


def learn(model: keras.Model, images: np.ndarray, classes: np.ndarray, epochs: int, batch_size: int = 32) -> None:
    steps = epochs * -(-len(images) // batch_size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, steps)), loss)
    model.fit(images[..., None], classes, epochs=epochs, batch_size=batch_size, verbose=0)


@functools.cache
def boxed_study() -> tuple[dict[str, keras.Model], dict[str, Run], Prepared, pd.DataFrame]:
    """(models, runs, prepared dataset, boxes): one trained model, that tells the test scans apart."""
    rng = np.random.default_rng(0)
    rows, boxes, images = [], [], {}
    for split, count in COUNTS.items():
        images[split], classes, found = draw(count, rng)
        for place, (kind, box) in enumerate(zip(classes, found, strict=True)):
            scan = f"{split}-{place}.png"
            row = {"scan": scan, "patient": f"{split}-{place // 2}", "split": split}
            rows.append(row | {name: int(kind == column) for column, name in enumerate(CLASSES)})
            if box:
                boxes.append((scan, CLASSES[kind], *(edge / SIZE for edge in box)))
    records = pd.DataFrame(rows)
    prepared = Prepared("pneumonia", "multiclass", CLASSES, SIZE, 127.0, 40.0, records, images)
    model = small_network()
    learn(model, images["train"], prepared.labels("train").argmax(axis=1), epochs=8)
    parts = []
    for split in COUNTS:
        own = prepared.split(split)
        given = metrics.probabilities(outputs(model, images[split]), "multiclass")
        for column, name in enumerate(CLASSES):
            own[f"label_{name}"], own[f"probability_{name}"] = own[name], given[:, column]
        parts.append(own)
    run = Run(NAME, {"dataset": "pneumonia"}, pd.DataFrame(), pd.concat(parts), {}, CLASSES, "multiclass")
    columns = ["scan", "class", "left", "top", "right", "bottom"]
    return {NAME: model}, {NAME: run}, prepared, pd.DataFrame(boxes, columns=columns)
