"""Runs a model file in ONNX Runtime, without Keras, whose start and tracing take many seconds.

The ONNX model is made in memory from the .keras file each time (onnx_model), so no copy of it can be outdated or
tampered with. Before first use, its outputs are compared with those of Keras: with the run's own predictions on its
test scans or, without these, with Keras itself. <name>.checked.json next to the file records this.
"""

import math
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from lungkeras.models import architectures
from lungkeras.prediction import keras_layers, onnx_layers, onnx_model, runtimes
from lungkeras.system.errors import FolderError, LungkerasError, RunError
from lungkeras.system.files import write_json
from lungkeras.system.provenance import code_digest, file_digest
from lungkeras.system.untrusted import json_files
from lungkeras.system.untrusted.keras_files import check_model_file

LARGEST_DIFFERENCE = 1e-4  # of a probability
PROBES = 32
MOST_NUMBERS = 2**27  # that one layer outputs for a batch of scans
BATCH = 32


class Network:
    """A model file's logits and gradients: the part of a keras.Model needed for predictions and heat maps."""

    def __init__(self, path: Path):
        """Raises RunError for a file that is refused, keras_layers.Unknown for a model that only Keras can compute."""
        check_model_file(path)
        self.plan = keras_layers.read_model(path)
        if sum(onnx_layers.is_overlapping_pool(layer) for layer in self.plan.layers) > 1:
            # One is the stem's, before any layer that is explained.
            raise keras_layers.Unknown("slopes of overlapping pools")
        largest = max(map(math.prod, onnx_model.map_shapes(self.plan).values()), default=1)
        if largest > MOST_NUMBERS:
            raise RunError(f"{path} is refused: one of its layers outputs more than {MOST_NUMBERS:,} numbers per scan.")
        self.batch = max(1, min(BATCH, MOST_NUMBERS // largest))
        self.session = runtimes.onnx_session(onnx_model.write_model(self.plan))
        self.input_shape = (None, self.plan.size, self.plan.size, 1)
        self.output_shape = (None, self(np.zeros((1, self.plan.size, self.plan.size), np.uint8)).shape[1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits, float32 (N, classes), of uint8 images (N, size, size)."""
        batches = (images[start : start + self.batch, ..., None] for start in range(0, len(images), self.batch))
        return np.concatenate([self.session.run(["logits"], {"scan": batch})[0] for batch in batches])

    @cached_property
    def layer(self):
        """The layer that heat maps explain, with `name` and `output.shape` (None, h, w, C)."""
        shapes = onnx_model.map_shapes(self.plan)
        steps = [
            architectures.Step(layer.name, layer.kind, shapes.get(layer.name, ()), layer.inputs)
            for layer in self.plan.layers
        ]
        name = architectures.explained_map(steps)
        return SimpleNamespace(name=name, output=SimpleNamespace(shape=(None, *shapes[name])))

    @cached_property
    def _explaining(self):
        return runtimes.onnx_session(onnx_model.write_model(self.plan, self.layer.name))

    def slopes(self, images: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(activations, slopes), float32 (N, h, w, C), of `layer`; `chosen` is 1 at the logit of each image."""
        return tuple(self._explaining.run(["activations", "slopes"], {"scan": images[..., None], "chosen": chosen}))


def open_network(path: Path | str, task: str) -> Network | None:
    """The model of a .keras file; None if it has layers that only Keras can compute, or differs from Keras.

    Raises RunError if the file is refused.
    """
    path = Path(path)
    try:
        network = Network(path)
    except keras_layers.Unknown:
        return None
    translation = ("keras_layers", "onnx_activations", "onnx_graph", "onnx_layers", "onnx_model", "inference")
    code = code_digest(f"prediction/{name}" for name in translation)
    stamp = {"model_sha256": file_digest(path), "code_sha256": code}
    note = path.with_suffix(".checked.json")
    recorded = _read(note)
    if {key: recorded.get(key) for key in stamp} == stamp:
        return network if recorded.get("agrees") is True else None
    difference = _difference_from_predictions(network, path, task)
    if not difference <= LARGEST_DIFFERENCE:
        difference = _difference_from_keras(network, path, task)
    agrees = bool(difference <= LARGEST_DIFFERENCE)
    with suppress(FolderError, OSError):  # a folder that can't be written to
        write_json(note, stamp | {"agrees": agrees, "largest_difference": difference})
    return network if agrees else None


def _read(note: Path) -> dict:
    try:
        recorded = json_files.read(note)
        return recorded if isinstance(recorded, dict) else {}
    except (OSError, ValueError):
        return {}


def _difference_from_predictions(network: Network, path: Path, task: str) -> float:
    """The largest difference from the run's saved predictions on its test scans; infinite if these are missing."""
    if not (path.parent / "predictions.parquet").is_file():
        return float("inf")
    from lungkeras.study.runs import read_run, split_of
    from lungkeras.system.places import from_project

    try:
        run = read_run(path.parent)
        scans = np.load(from_project(run.params["prepared"]) / run.dataset / "test.npy", mmap_mode="r")
        expected = split_of(run, "test")[1]
        if scans.shape != (len(expected), *network.input_shape[1:3]) or scans.dtype != np.uint8:
            return float("inf")
        return _difference(network, np.asarray(scans[:PROBES]), expected[:PROBES], task)
    except (LungkerasError, OSError, ValueError, KeyError, TypeError):
        return float("inf")


def _difference_from_keras(network: Network, path: Path, task: str) -> float:
    from lungkeras.system.backends import use_backend

    use_backend()
    from lungkeras import models
    from lungkeras.scores import metrics
    from lungkeras.training.outputs import outputs

    size = network.input_shape[1]
    scans = np.random.default_rng(0).integers(0, 256, (PROBES, size, size), dtype=np.uint8)
    # From noise to a blank scan: levels that differ less and less.
    scans = (scans // np.linspace(1, 128, PROBES, dtype=np.uint8)[:, None, None]).astype(np.uint8)
    return _difference(network, scans, metrics.probabilities(outputs(models.load_model(path), scans), task), task)


def _difference(network: Network, scans: np.ndarray, expected: np.ndarray, task: str) -> float:
    from lungkeras.scores import metrics

    found = metrics.probabilities(network(scans), task)
    return float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
