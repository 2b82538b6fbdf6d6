"""Backbones and heads: a scan in grey levels goes in, logits come out, and everything in between is one flat model.

    scan (N, S, S, 1) uint8 -> standardise -> three equal channels -> backbone -> average -> head -> logits (N, C)

The dataset's mean and standard deviation are applied once, by a layer inside the model, so no caller can forget them;
the preprocessing of keras.applications' backbones is left out. The heads are torchvision's, as in the study.
"""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras

from lungkeras.models import architectures, layers
from lungkeras.models.backbones import BACKBONES, Backbone, every_layer, extract_features, find_backbone, weights_origin
from lungkeras.models.complexity import count_layers, count_multiply_accumulates, count_parameters
from lungkeras.models.files import load_model, save_model
from lungkeras.models.residuals import zero_init_residual as start_as_identity
from lungkeras.system.errors import ParamsError, RunError
from lungkeras.system.untrusted.keras_graphs import fault_of_layers

__all__ = [
    "BACKBONES",
    "Backbone",
    "build_model",
    "count_layers",
    "count_multiply_accumulates",
    "count_parameters",
    "last_convolution",
    "load_model",
    "penultimate",
    "save_model",
]

SMALLEST_IMAGE = 32


def build_model(
    backbone: str,
    classes: int | Sequence[str],
    task: str,
    *,
    image_size: int,
    weights: str | Path = "random",
    mean: float = 127.5,
    std: float = 64.0,
    seed: int | None = None,
    batch_norm_momentum: float | None = None,
    dropout: bool = True,
    zero_init_residual: bool = False,
    precision: str = "float32",
) -> keras.Model:
    """A model from scans, uint8 of shape (N, image_size, image_size, 1), to logits, float32 of shape (N, classes).

    Args:
        backbone: a name in BACKBONES, of another model of keras.applications, or keras_hub.<preset>; the model's name.
        classes: their names, or how many they are.
        task: "multiclass" (softmax the logits) or "multilabel" (sigmoid).
        image_size: 32 pixels or more.
        weights: "random"; "imagenet" (fetched once, then kept by Keras); a file of ImageNet weights (of
            keras.applications without its head, .h5 or .weights.h5; for ResNet-34 torchvision's, .safetensors; for a
            preset of KerasHub "imagenet" is its own weights); or a .keras file of ours with the same backbone: its
            weights up to the logits and its epsilon are copied.
        mean, std: of the training split, in grey levels from 0 to 255.
        seed: fixes the initial weights and every dropout; nothing outside the model is seeded.
        batch_norm_momentum: replaces the backbone's. The higher it is, the more steps until the moving statistics, and
            with them validation, mean something: at 0.99 some 200, at 0.9 some 20.
        dropout: False sets the rates of dropout and drop-connect to 0.
        zero_init_residual: whether each residual block starts as the identity, if the weights are random.
        precision: what layers compute in: float32, mixed_float16 or mixed_bfloat16. Weights, the standardised scan and
            the logits are float32 in any case.

    Raises ParamsError for a value that is not understood, RunError for weights that are absent or do not fit.

    >>> classes = ("bacterial_pneumonia", "viral_pneumonia", "normal")
    >>> model = lungkeras.build_model("mobilenet_v3_large", classes, "multiclass", image_size=32, seed=0)
    >>> model.input_shape, model.output_shape
    ((None, 32, 32, 1), (None, 3))
    """
    chosen = find_backbone(backbone)
    count = classes if isinstance(classes, int) else len(classes)
    _check(count, task, image_size, std)
    scans = keras.Input((image_size, image_size, 1), dtype="uint8", name="scan")
    grey = keras.layers.Rescaling(1.0 / std, -mean / std, name="standardise")(scans)
    images = keras.layers.Concatenate(name="grey_to_rgb")([grey, grey, grey])

    origin = weights_origin(weights)
    source = load_model(weights) if origin == "transfer" else None
    if (std_of_weights := _imagenet_std(chosen, origin, source)) != 1.0:
        images = keras.layers.Rescaling(std_of_weights, name="imagenet_range")(images)
    features = extract_features(chosen, images, str(weights) if origin == "imagenet" else None)
    source = source or features
    model = _flat(keras.Model(scans, _head(chosen, features.output, count), name=chosen.name))
    epsilon = {"random": chosen.epsilon, "imagenet": None}.get(origin, _epsilon(source))
    model = _rebuild(model, batch_norm_momentum or chosen.momentum, epsilon, seed, precision, dropout)
    if backbone.startswith(architectures.HUB):
        _check_loads(model)
    if zero_init_residual:
        start_as_identity(model)
    if origin != "random":
        _copy_weights(source, model, ("logits",) if origin == "transfer" else ("logits", "hidden"), weights)
    return model


def _imagenet_std(backbone: Backbone, origin: str, source: keras.Model | None) -> float:
    """The standard deviation of the inputs that the weights were trained on, also if they come from a run."""
    if origin == "imagenet":
        return backbone.imagenet_std
    found = [layer.scale for layer in source.layers if layer.name == "imagenet_range"] if source else []
    return found[0] if found else 1.0


def _epsilon(model: keras.Model) -> float | None:
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    return norms[0].epsilon if norms else None


def _check(classes: int, task: str, image_size: int, std: float) -> None:
    if task not in ("multiclass", "multilabel"):
        raise ParamsError(f"task: expected multiclass or multilabel; received {task!r}.")
    least = 2 if task == "multiclass" else 1
    if classes < least:
        raise ParamsError(f"classes: {task} needs {least} or more; received {classes}.")
    if image_size < SMALLEST_IMAGE:
        raise ParamsError(f"image_size: expected {SMALLEST_IMAGE} pixels or more; received {image_size}.")
    if not std > 0:
        raise ParamsError(f"std: expected a positive number of grey levels; received {std}. Are all scans blank?")


def _head(backbone: Backbone, features, classes: int):
    x = keras.layers.GlobalAveragePooling2D(name="average")(features)
    if backbone.hidden:
        x = keras.layers.Dense(backbone.hidden, activation="hard_swish", name="hidden")(x)
    if backbone.dropout:
        x = keras.layers.Dropout(backbone.dropout, name="dropout")(x)
    return keras.layers.Dense(classes, name="logits", dtype="float32")(x)


def _flat(model: keras.Model) -> keras.Model:
    """The same graph, with fresh weights, in which inner models are replaced by their layers."""

    def copy(layer):
        return type(layer).from_config(layer.get_config())

    def connect(layer, *inputs, **options):
        if not isinstance(layer, keras.Model):
            return layer(*inputs, **options)
        if isinstance(layer, keras.Sequential):
            for inner in layer.layers:
                inputs = (connect(copy(inner), *inputs),)
            return inputs[0]
        outputs = []

        def record(inner, *inputs, **options):
            outputs.append(connect(inner, *inputs, **options))
            return outputs[-1]

        keras.models.clone_model(layer, input_tensors=inputs[0], call_function=record, clone_function=copy)
        return outputs[-1]

    if not any(isinstance(layer, keras.Model) for layer in model.layers):
        return model
    return keras.models.clone_model(model, clone_function=copy, call_function=connect)


def _rebuild(
    model: keras.Model,
    momentum: float | None,
    epsilon: float | None,
    seed: int | None,
    precision: str,
    dropout: bool,
) -> keras.Model:
    """The same graph with fresh weights, our layers, seeds, and without the backbone's own preprocessing.

    Batch norm settings that are None are unchanged.
    """
    numbers = random.Random(seed)
    ours = {key: value for key, value in (("momentum", momentum), ("epsilon", epsilon)) if value is not None}

    def renew(layer):
        config = layer.get_config()
        if "dtype" in config and layer.name not in ("standardise", "imagenet_range", "logits"):
            config["dtype"] = precision
        if seed is not None:
            config = _seeded(config, iter(lambda: numbers.randrange(2**31), None))
        if isinstance(layer, keras.layers.BatchNormalization):
            config |= ours
        if isinstance(layer, keras.layers.Dropout) and not dropout:
            config["rate"] = 0.0
        return type(layer).from_config(config)

    def connect(layer, *inputs, **options):
        preprocessing = isinstance(layer, keras.layers.Normalization | keras.layers.Rescaling)
        if preprocessing and layer.name not in ("standardise", "imagenet_range"):
            return inputs[0]
        return layer(*inputs, **options)

    return layers.fast(keras.models.clone_model(model, clone_function=renew, call_function=connect))


def _seeded(config: dict, numbers: Iterator[int]) -> dict:
    """A layer's config in which every "seed", also of its initialisers, is the next of `numbers`."""
    seeded = {}
    for key, value in config.items():
        if key == "seed":
            value = next(numbers)
        elif isinstance(value, dict):
            value = _seeded(value, numbers)
        seeded[key] = value
    return seeded


def _check_loads(model: keras.Model) -> None:
    """Raises ParamsError if load_model would refuse the model's file: better before training than after it."""
    with layers.plain(model):
        config = keras.saving.serialize_keras_object(model)
    if reason := fault_of_layers(json.loads(json.dumps(config))):
        raise ParamsError(f"backbone: {model.name} could be trained, but not loaded: {reason}; name another.")


def _is_copied(layer: keras.Layer, head: tuple[str, ...]) -> bool:
    return bool(layer.weights) and layer.name not in head and not isinstance(layer, keras.layers.Normalization)


def _copy_weights(source: keras.Model, model: keras.Model, head: tuple[str, ...], weights: str | Path) -> None:
    """Copies all weights but the head's, in the order of the layers, as names with Keras' counters may differ."""
    given, taken = ([layer for layer in every_layer(either) if _is_copied(layer, head)] for either in (source, model))
    name = "logits"
    try:
        for theirs, ours in zip(given, taken, strict=True):
            name = ours.name
            ours.set_weights(theirs.get_weights())
    except ValueError as error:
        raise RunError(
            f"weights: {weights} holds {source.name}, which does not fit {model.name} at layer {name}. "
            f"Start from a run of the same backbone."
        ) from error


def last_convolution(model: keras.Model) -> keras.Layer:
    """The last layer with an output of (N, h, w, C): the activation behind the last convolution, for Grad-CAM."""
    return architectures.last_map(model.layers)


def penultimate(model: keras.Model) -> keras.Layer:
    """The layer whose output, of shape (N, F), the logits are computed from; dropout between them is passed over."""
    below = model.layers[: model.layers.index(model.get_layer("logits"))]
    return next(layer for layer in reversed(below) if not isinstance(layer, keras.layers.Dropout))
