"""Several devices train as one does, fused batch norm and fused Adam given; precision; what a run says of its device.

Two virtual CPUs stand in for GPUs.
"""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from prepared_data import write_prepared

from lungkeras.models.build import build_model
from lungkeras.models.files import load_model, save_model
from lungkeras.preparation.folder import load_prepared
from lungkeras.study.params import Params
from lungkeras.system import devices
from lungkeras.system.errors import ParamsError
from lungkeras.training import one_run
from lungkeras.training.pipeline import Batches

BACKEND = keras.backend.backend()
CHECKOUT = Path(__file__).resolve().parents[2]
# On one device and on two: the history of a run whose last batch (24 scans, 7 a batch) does not divide.
ON_TWO = """
import sys
import lungkeras
import keras
import numpy as np
from lungkeras.models.layers import BatchNormalization
from lungkeras.study.params import Params
from lungkeras.system import devices
from lungkeras.training import one_run, pipeline

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
elif keras.backend.backend() == "torch":
    devices.found_devices = lambda: ["cpu:0", "cpu:1"]  # a process each

def small_model():
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 1), dtype="uint8")
    features = keras.layers.Rescaling(1 / 75.0, -119.5 / 75.0)(images)
    # A bias before a batch norm has no gradient but rounding, which Adam makes large.
    features = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(features)
    features = BatchNormalization(momentum=0.5)(features)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(features))
    return keras.Model(images, keras.layers.Dense(3, name="logits")(features))

prepared, runs, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
for count in (1, 2):
    params = Params(
        prepared=prepared, runs=f"{runs}/{count}", image_size=32, epochs=3, batch_size=batch_size, devices=count
    )
    with devices.scope(count) as chosen:
        assert len(chosen) == count
        assert devices.sharing() == (1 if keras.backend.backend() == "torch" else count)
        model = small_model()
    folder = one_run.train(params, model)
    lungkeras.load_model(folder / "best.keras")
assert devices.chosen_devices("all") == devices.found_devices()
"""


@pytest.fixture(scope="module")
def prepared_folder(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("prepared") / "pneumonia")


@pytest.mark.parametrize("batch_size", [pytest.param(8, marks=pytest.mark.slow), 7])
def test_two_devices_train_as_one_does(prepared_folder, tmp_path, batch_size):
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO, str(prepared_folder.parent), str(tmp_path), str(batch_size)],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(CHECKOUT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "ran out of data" not in done.stderr
    one, two = (
        np.loadtxt(next(tmp_path.glob(f"{count}/*/history.csv")), delimiter=",", skiprows=1) for count in (1, 2)
    )
    columns = slice(1, 5) if batch_size == 8 else slice(3, 5)
    np.testing.assert_allclose(two[:, columns], one[:, columns], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("scans", "count"), [(6, 2), (7, 2), (1, 2), (3, 2), (6, 4), (5, 3)])
def test_a_batch_is_repeated_until_it_divides_and_keeps_its_mean(scans, count):
    images = np.arange(scans, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    labels = np.eye(scans, dtype=np.float32)
    shown, truth = Batches(images, labels, scans, devices=count)[0]
    assert len(shown) % count == 0
    np.testing.assert_allclose(truth.mean(axis=0), 1 / scans)
    np.testing.assert_array_equal(shown[:scans, ..., 0], images)
    asked = Batches(images, None, scans, devices=count)[0]
    assert len(asked) == -(-scans // count) * count
    np.testing.assert_array_equal(asked[:scans, ..., 0], images)


def test_more_devices_than_there_are_is_one_sentence():
    found = devices.found_devices()
    with pytest.raises(ParamsError, match=f"devices: 99 were requested, .* finds {len(found)}"):
        devices.chosen_devices(99)
    assert devices.chosen_devices(1) == found[:1]


def test_a_run_says_its_device_and_warns_of_an_unused_gpu(monkeypatch, recwarn):
    monkeypatch.setattr(devices, "has_nvidia_gpu", lambda: False)
    found = devices.found_devices()[:1]
    assert devices.announce(found, "float32").endswith(f"on {found[0]}, float32")
    assert not recwarn
    monkeypatch.setattr(devices, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(devices, "found_devices", lambda: ["cpu:0"])
    with pytest.warns(UserWarning, match="an NVIDIA GPU is in this machine, but .* does not see it"):
        devices.announce(["cpu:0"], "float32")


@pytest.mark.parametrize("precision", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_mixed_precision_keeps_weights_and_logits_in_float32(prepared_folder, tmp_path, precision):
    scans = load_prepared(prepared_folder).images["test"][..., None]
    mixed = build_model("resnet34", 3, "multiclass", image_size=32, seed=0, precision=precision)
    full = build_model("resnet34", 3, "multiclass", image_size=32, seed=0)
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    assert mixed.get_layer("conv1").compute_dtype == precision.removeprefix("mixed_")
    assert mixed.get_layer("standardise").compute_dtype == mixed.get_layer("logits").compute_dtype == "float32"
    found, expected = (keras.ops.convert_to_numpy(model(scans, training=False)) for model in (mixed, full))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.1 * np.abs(expected).max())
    save_model(mixed, tmp_path / "mixed.keras")
    again = keras.ops.convert_to_numpy(load_model(tmp_path / "mixed.keras")(scans, training=False))
    np.testing.assert_array_equal(again, found)


def test_float16_scales_the_loss(prepared_folder, tmp_path):
    params = Params(prepared=str(prepared_folder.parent), runs=str(tmp_path), image_size=32, precision="mixed_float16")
    prepared = load_prepared(prepared_folder)
    model = keras.Sequential([keras.Input((32, 32, 1), dtype="uint8"), keras.layers.Flatten(), keras.layers.Dense(3)])
    trainer = one_run.compiled(model, params, prepared)
    assert isinstance(trainer.optimizer, keras.optimizers.LossScaleOptimizer)
    images, labels = Batches(prepared.images["train"], prepared.labels("train"), 8, seed=0, augmented=True)[0]
    losses = [float(trainer.train_on_batch(images, labels)[0]) for _ in range(3)]
    assert np.isfinite(losses).all()
