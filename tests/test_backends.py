"""The same package on PyTorch. Keras reads its backend once, so each test is a process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
TWO_STEPS = """
import keras
import numpy as np
from lungkeras import augmentation, models

assert keras.backend.backend() == "torch"
backbone = models.build_model("resnet34", 3, "multiclass", image_size=32, seed=0)
scans = keras.Input((32, 32, 1), dtype="uint8")
model = keras.Model(scans, backbone(augmentation.Augmentation(seed=0)(scans)))
model.compile(keras.optimizers.Adam(0.001), keras.losses.CategoricalCrossentropy(from_logits=True))
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (4, 32, 32, 1), dtype=np.uint8)
labels = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
before = backbone.get_weights()
losses = [float(model.train_on_batch(images, labels)) for _ in range(2)]
assert np.isfinite(losses).all(), losses
still = [weight.path for weight, old in zip(backbone.weights, before) if np.array_equal(weight.numpy(), old)]
assert not still, f"not trained: {still}"
models.save_model(backbone, "best.keras")
expected, received = (either.predict(images, verbose=0) for either in (backbone, models.load_model("best.keras")))
np.testing.assert_allclose(received, expected, atol=1e-5)
"""


def _on_torch(*arguments, folder):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed: pip install torch")
    environment = os.environ | {"KERAS_BACKEND": "torch", "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_resnet34_trains_two_steps_on_torch(tmp_path):
    _on_torch("-c", TWO_STEPS, folder=tmp_path)


def test_the_fused_batch_norm_is_that_of_keras_on_torch():
    _on_torch("-m", "pytest", "tests/test_layers.py", folder=CHECKOUT)
