"""Model files that attack whoever opens them: each is refused before Keras sees it, and nothing of it has run."""

import io
import json
import struct
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from lungkeras.models import build
from lungkeras.system.errors import RunError
from lungkeras.system.text import printable
from lungkeras.system.untrusted import hdf5_files, keras_files


def module(place: str, kind: str, **config) -> dict:
    return {"module": place, "class_name": kind, "config": config, "registered_name": None}


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> dict[str, bytes]:
    """The members of a small file as we write it."""
    scans = keras.Input((32, 32, 1), dtype="uint8", name="scan")
    x = keras.layers.Rescaling(1 / 64, name="standardise")(scans)
    x = keras.layers.Conv2D(4, 3, name="convolution")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = x * 2.0 + x
    x = keras.layers.GlobalAveragePooling2D(name="average")(keras.layers.ReLU(name="relu")(x))
    path = tmp_path_factory.mktemp("honest") / "model.keras"
    build.save_model(keras.Model(scans, keras.layers.Dense(3, name="logits")(x)), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes], **options) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def with_config(honest: dict[str, bytes], change) -> bytes:
    config = json.loads(honest["config.json"])
    changed = change(config)
    return packed(honest | {"config.json": json.dumps(changed if isinstance(changed, dict) else config).encode()})


def with_weights(honest: dict[str, bytes], change) -> bytes:
    file = io.BytesIO(honest["model.weights.h5"])
    with h5py.File(file, "r+") as weights:
        change(weights)
    return packed(honest | {"model.weights.h5": file.getvalue()})


def layer(config: dict, name: str) -> dict:
    return next(layer for layer in config["config"]["layers"] if layer["name"] == name)


def replaced(name: str, **changes):
    """A change of a config: the layer of this name becomes another thing, where it hangs in the graph."""
    return lambda config: layer(config, name).update(changes)


def function(canary: Path) -> dict:
    """How Keras writes a function of a module: this one makes a folder."""
    return {"module": "os", "class_name": "function", "config": "makedirs", "registered_name": "makedirs"}


def unconnected(model: dict, **node) -> None:
    model["config"]["layers"].append(node)


def attacks(honest: dict[str, bytes], canary: Path) -> dict[str, bytes]:
    """Name -> file. `canary` is a folder that must not be there afterwards, or a file that must not be read."""
    secret = canary.parent / "secret.bin"
    secret.write_bytes(b"secret" * 100)
    code = {"module": "builtins", "class_name": "__lambda__", "config": {"value": "4wAAAA==", "defaults": None}}
    get_file = {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"}
    arrays = "layers/dense/vars/0"

    def external(weights):
        del weights[arrays]
        weights.create_dataset(arrays, (4, 3), "float32", external=[(str(secret), 0, 48)])

    def virtual(weights):
        del weights[arrays]
        layout = h5py.VirtualLayout((4, 3), "float32")
        layout[:] = h5py.VirtualSource(str(secret), "data", (4, 3))
        weights.create_virtual_dataset(arrays, layout)

    def link(to):
        def change(weights):
            del weights[arrays]
            weights[arrays] = to

        return change

    def group_link(weights):
        del weights["layers/dense"]
        weights["layers/dense"] = h5py.ExternalLink(str(secret), "/")

    def shape_bomb(weights):
        del weights[arrays]
        weights.create_dataset(arrays, (2**20, 2**20), "float32", chunks=(1, 2**20))

    def packed_bomb(weights):
        del weights[arrays]
        weights.create_dataset(arrays, data=np.zeros((4096, 1024), "float32"), compression="gzip")

    def itself(weights):
        weights["layers/dense/again"] = weights["layers"]

    def wide(config):
        layer(config, "logits")["config"]["units"] = 2**40

    def wide_and_built(config):
        layer(config, "convolution")["config"]["filters"] = 2**20
        layer(config, "norm")["build_config"]["input_shape"][-1] = 2**40

    def large(config):
        layer(config, "scan")["config"]["batch_shape"] = [None, 8192, 8192, 1]

    def path_name(config):
        relu = layer(config, "relu")
        relu["name"] = relu["config"]["name"] = "../../relu"

    def operation(config):
        node = {"args": ["float16"], "kwargs": {}}
        unconnected(
            config, module="keras.src.ops.numpy", class_name="Add", config={"name": "policy"},
            registered_name="Add", name="policy", inbound_nodes=[node],
        )  # fmt: skip

    def calls_a_function(config):
        layer(config, "relu")["inbound_nodes"][0]["args"].append(function(canary))

    def twice(config):
        text = json.dumps(config)
        return text.replace('"class_name": "ReLU"', '"class_name": "ReLU", "class_name": "Lambda"')

    whole = packed(honest)
    legacy = io.BytesIO()
    with h5py.File(legacy, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Lambda"})
    bomb = honest | {"config.json": b" " * 200_000_000}
    return {
        "Lambda": with_config(honest, replaced("relu", class_name="Lambda", config={"name": "relu", "function": code})),
        "module reference": with_config(honest, lambda config: module("os", "system", command=f"mkdir {canary}")),
        "reference within": with_config(honest, replaced("relu", **module("os", "makedirs", name="relu"))),
        "function as activation": with_config(
            honest, lambda config: layer(config, "logits")["config"].update(activation=function(canary))
        ),
        "function as initializer": with_config(
            honest, lambda config: layer(config, "logits")["config"].update(kernel_initializer=get_file)
        ),
        "TFSMLayer": with_config(
            honest,
            replaced("relu", class_name="TFSMLayer", config={"name": "relu", "filepath": str(canary)}),
        ),
        "TorchModuleWrapper": with_config(
            honest,
            replaced("relu", class_name="TorchModuleWrapper", config={"name": "relu", "module": "gASVHQ=="}),
        ),
        "StringLookup": with_config(
            honest,
            replaced("relu", class_name="StringLookup", config={"name": "relu", "vocabulary": str(secret)}),
        ),
        "unsafe mode first": with_config(
            honest,
            lambda config: unconnected(
                config, module="keras.config", class_name="enable_unsafe_deserialization", config={"name": "unsafe"},
                registered_name=None, name="unsafe", inbound_nodes=[],
            ),
        ),
        "unconnected operation": with_config(honest, operation),
        "function as argument": with_config(honest, calls_a_function),
        "nested model": with_config(
            honest, replaced("relu", module="keras.src.models.functional", class_name="Functional")
        ),
        "name as path": with_config(honest, path_name),
        "key twice": packed(honest | {"config.json": twice(json.loads(honest["config.json"])).encode()}),
        "key of the constructor": with_config(honest, lambda config: config["config"].update(custom_objects={})),
        "wide layer": with_config(honest, wide),
        "wide layer, well built": with_config(honest, wide_and_built),
        "large scans": with_config(honest, large),
        "deep nesting": packed(honest | {"config.json": b'{"a":' * 100_000 + b"1" + b"}" * 100_000}),
        "external link": with_weights(honest, link(h5py.ExternalLink(str(secret), "/data"))),
        "external link to a group": with_weights(honest, group_link),
        "soft link": with_weights(honest, link(h5py.SoftLink("/layers/conv2d/vars/0"))),
        "virtual dataset": with_weights(honest, virtual),
        "external storage": with_weights(honest, external),
        "shape bomb": with_weights(honest, shape_bomb),
        "packed weights": with_weights(honest, packed_bomb),
        "group within itself": with_weights(honest, itself),
        "zip bomb": packed(bomb, compression=zipfile.ZIP_DEFLATED),
        "extra entry": packed(honest | {"assets/x.txt": b"x"}),
        "entry that climbs": packed(honest | {"../../x": b"x"}),
        "no weights": packed({name: honest[name] for name in ("metadata.json", "config.json")}),
        "HDF5 renamed": legacy.getvalue(),
        "truncated": whole[: len(whole) // 2],
        "claimed size": whole.replace(struct.pack("<L", len(honest["model.weights.h5"])), struct.pack("<L", 2**31)),
        "empty": b"",
    }  # fmt: skip


@pytest.fixture
def opened_by_keras(monkeypatch) -> list:
    """What came as far as Keras."""
    came = []
    real = keras.models.load_model
    monkeypatch.setattr(keras.models, "load_model", lambda *given, **options: came.append(1) or real(*given, **options))
    return came


def test_the_honest_file_is_opened(honest, tmp_path, opened_by_keras):
    (tmp_path / "model.keras").write_bytes(packed(honest))
    model = build.load_model(tmp_path / "model.keras")
    assert opened_by_keras and model.output_shape == (None, 3)
    with h5py.File(io.BytesIO(honest["model.weights.h5"])) as weights:
        np.testing.assert_array_equal(model.get_layer("logits").kernel, weights["layers/dense/vars/0"])


def test_no_attack_gets_as_far_as_keras(honest, tmp_path, opened_by_keras, injected):
    canary = tmp_path / "canary"
    files = attacks(honest, canary)
    for name, content in files.items():
        path = tmp_path / f"{name}.keras"
        path.write_bytes(content)
        try:
            build.load_model(path)
            said = "it was opened"
        except RunError as error:
            said = str(error)
        assert str(path) in said and "\n" not in said and len(said) < len(str(path)) + 300, name
        assert not opened_by_keras, name
    assert not canary.exists()
    assert keras.config.dtype_policy().name == "float32"
    injected("hostile model files", len(files))


def test_every_bit_of_a_config_may_flip(honest, tmp_path, injected):
    draw, path = np.random.default_rng(0), tmp_path / "model.keras"
    for _ in range(100):
        config = bytearray(honest["config.json"])
        config[draw.integers(len(config))] ^= 1 << int(draw.integers(8))
        path.write_bytes(packed(honest | {"config.json": bytes(config)}))
        try:
            keras_files.check_model_file(path)
        except RunError as error:
            assert "\n" not in str(error)
    injected("model files of a flipped bit", 100)


@pytest.mark.faults
@pytest.mark.parametrize("backbone", build.BACKBONES)
def test_what_save_model_writes_passes(backbone, tmp_path):
    model = build.build_model(backbone, 3, "multiclass", image_size=32)
    build.save_model(model, tmp_path / "model.keras")
    assert build.load_model(tmp_path / "model.keras").name == backbone


def test_a_model_of_mixed_precision_passes(tmp_path):
    scans = keras.Input((32, 32, 1), dtype="uint8")
    x = keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16")(keras.layers.Rescaling(1.0)(scans))
    model = keras.Model(scans, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    build.save_model(model, tmp_path / "model.keras")
    assert build.load_model(tmp_path / "model.keras").count_params() == model.count_params()


def test_settings_that_a_file_changes_are_set_back(honest, tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    path.write_bytes(packed(honest))
    monkeypatch.setattr(keras.models, "load_model", lambda *given, **options: keras.config.set_floatx("float16"))
    with pytest.raises(RunError, match="changes the settings of Keras"):
        build.load_model(path)
    assert keras.config.floatx() == "float32" and keras.config.dtype_policy().name == "float32"


def test_weights_of_imagenet_are_looked_through_too(tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["layer/kernel"] = np.ones(3)
    hdf5_files.check_weights_file(path)
    with h5py.File(path, "a") as file:
        file["other"] = h5py.ExternalLink("/etc/hostname", "/")
    with pytest.raises(RunError, match="is a link"):
        build.build_model("mobilenet_v3_large", 2, "multiclass", image_size=32, weights=path)


def test_an_old_keras_is_refused():
    for version in ("3.15.1", "3.15.10", "4.0.0", "3.16.0.dev1"):
        keras_files.check_keras_version(version)
    for version in ("3.15.0", "3.9.2", "2.15.0"):
        with pytest.raises(RunError, match=r"too old .* install 3\.15\.1"):
            keras_files.check_keras_version(version)


@pytest.mark.parametrize(
    "text",
    [
        "[1]", "3", "{", '{"classes": 3}', '{"classes": [1, 2, 3]}', '{"classes": ["a", "\\u001b[2J", "c"]}',
        '{"classes": ["a", "b", "c"], "task": "x"}', '{"classes": ["a", "b"]}', "[" * 100_000, "\x00",
    ],
)  # fmt: skip
def test_the_metrics_of_a_model_file_are_read_or_refused(text, honest, tmp_path):
    from lungkeras.prediction.predict import load_predictor

    (tmp_path / "best.keras").write_bytes(packed(honest))
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(RunError, match=r"metrics\.json") as caught:
        load_predictor(tmp_path)
    assert printable(caught.value) == str(caught.value)
