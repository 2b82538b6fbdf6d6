"""The layers of a .keras file and their weights, read without Keras."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from lungkeras.system.untrusted import json_files
from lungkeras.system.untrusted.archives import plain_zip, read_member
from lungkeras.system.untrusted.keras_files import MOST_BYTES, MOST_JSON_BYTES


class Unknown(ValueError):
    """The part of a model that is not supported here, in a few words."""


@dataclass(frozen=True)
class Layer:
    """A layer of a model file: `weights` are arrays as Keras keeps them, `inputs` are names of layers or numbers."""

    name: str
    kind: str
    settings: Mapping
    weights: Sequence[np.ndarray]
    inputs: Sequence[str | float]


@dataclass(frozen=True)
class Model:
    """Layers in the order of computation, and the name of the one that outputs the logits."""

    layers: Sequence[Layer]
    output: str

    @property
    def size(self) -> int:
        """Pixels per side of a scan."""
        return self.layers[0].settings["batch_shape"][1]


def read_model(path: Path | str) -> Model:
    """The layers and weights of a .keras file that has passed model_files.check_model_file. Raises Unknown."""
    with plain_zip(path, methods=(zipfile.ZIP_STORED,)) as archive:
        graph = json_files.loads(read_member(archive, "config.json", MOST_JSON_BYTES))["config"]
        with h5py.File(io.BytesIO(read_member(archive, "model.weights.h5", MOST_BYTES)), "r") as opened:
            layers = list(_layers(graph["layers"], opened["layers"]))
    output = graph["output_layers"]
    if sum(layer.kind == "InputLayer" for layer in layers) != 1 or layers[0].kind != "InputLayer":
        raise Unknown("more than one input")
    # A single output is [name, 0, 0], or a list with one such.
    return Model(layers, output[0] if isinstance(output[0], str) else _only(output)[0])


def _layers(configs: Sequence[Mapping], weights):
    counted = Counter()
    for config in configs:
        kind, settings = config["class_name"], config["config"]
        # Keras stores the weights of the second Conv2D as conv2d_1, whatever the layer's own name is.
        stored = WEIGHTED.get(kind)
        place = f"{stored}_{counted[stored]}" if counted[stored] else stored
        counted[stored] += 1
        arrays = weights[place]["vars"] if stored else {}
        policy = settings.get("dtype", "float32")
        policy = policy["config"]["name"] if isinstance(policy, Mapping) else policy
        if policy != "float32" and kind != "InputLayer":
            raise Unknown(f"layers that compute in {policy}")
        calls = [] if kind == "InputLayer" else _inputs(_only(config["inbound_nodes"])["args"])
        yield Layer(config["name"], kind, settings, [arrays[str(number)][()] for number in range(len(arrays))], calls)


WEIGHTED = {"Conv2D": "conv2d", "DepthwiseConv2D": "depthwise_conv2d", "Dense": "dense",
            "BatchNormalization": "batch_normalization"}  # fmt: skip


def _only(things: Sequence):
    if len(things) != 1:
        raise Unknown("a layer that is called twice")
    return things[0]


def _inputs(arguments: Sequence) -> list[str | float]:
    flat = [inner for argument in arguments for inner in (argument if isinstance(argument, list) else [argument])]
    return [entry["config"]["keras_history"][0] if isinstance(entry, Mapping) else float(entry) for entry in flat]
