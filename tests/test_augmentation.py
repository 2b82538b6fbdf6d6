"""The three transforms are torchvision's; the layer draws them for each image alone, and only in training."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from oracles import import_torchvision
from other_backends import each_backend

from lungkeras.augmentation import Augmentation, adjust_sharpness, augment, autocontrast, flip_horizontal
from lungkeras.preparation.scan import prepare_scan


def to_numpy(images) -> np.ndarray:
    return keras.ops.convert_to_numpy(images)


def drawn_images() -> dict[str, np.ndarray]:
    """Batches uint8 of many kinds: noise, narrow and full ranges, flat, tiny, one and three channels."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (6, 33, 47, 1), dtype=np.uint8)
    return {
        "noise": noise,
        "colour": generator.integers(0, 256, (3, 20, 20, 3), dtype=np.uint8),
        "narrow": (noise // 5 + 60).astype(np.uint8),
        "black and white": np.where(noise > 127, 255, 0).astype(np.uint8),
        "flat": np.full((2, 9, 9, 1), 77, np.uint8),
        "one flat of two": np.stack([np.full((9, 9, 1), 5, np.uint8), noise[0, :9, :9]]),
        "two pixels a side": noise[:, :2, :2],
        "three pixels a side": noise[:, :3, :3],
    }


def torchvision_gives(name: str, images: np.ndarray, *arguments) -> np.ndarray:
    """torchvision.transforms.v2.functional on a batch with its channels last."""
    torch, _ = import_torchvision()
    from torchvision.transforms.v2 import functional

    channels_first = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return getattr(functional, name)(channels_first, *arguments).numpy().transpose(0, 2, 3, 1)


TRANSFORMS = {
    "sharpened": (adjust_sharpness, "adjust_sharpness", (2.0,)),
    "smoothed": (adjust_sharpness, "adjust_sharpness", (0.0,)),
    "sharpened by half": (adjust_sharpness, "adjust_sharpness", (1.5,)),
    "left alone": (adjust_sharpness, "adjust_sharpness", (1.0,)),
    "stretched": (autocontrast, "autocontrast", ()),
    "mirrored": (flip_horizontal, "horizontal_flip", ()),
}


def assert_equal_within_one_grey_level(name: str, images: np.ndarray):
    ours, theirs, arguments = TRANSFORMS[name]
    received = to_numpy(ours(images, *arguments))
    expected = torchvision_gives(theirs, images, *arguments)
    assert received.dtype == np.uint8
    assert received.shape == images.shape
    assert np.abs(received.astype(int) - expected).max() <= 1
    assert (received != expected).mean() < 0.01, "equal within a grey level, yet too often not the same"


@pytest.mark.parametrize("images", drawn_images().values(), ids=drawn_images())
@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_transform_equals_torchvision_on_drawn_images(name, images):
    assert_equal_within_one_grey_level(name, images)


@pytest.fixture(scope="session")
def real_images(real_scans) -> np.ndarray:
    """Prepared and unprepared real scans of each collection, uint8 (N, 96, 96, 1)."""
    from lungkeras.datasets.scans.decoding import decode_grey
    from lungkeras.datasets.scans.opencv import cv2

    paths = [path for name in ("kermany", "covid", "nih") for path in sorted((real_scans / name).rglob("*.*g"))[::30]]
    prepared = [prepare_scan(path, 96) for path in paths]
    as_they_are = [cv2.resize(decode_grey(path), (96, 96), interpolation=cv2.INTER_AREA) for path in paths]
    return np.stack(prepared + as_they_are)[..., None]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_transform_equals_torchvision_on_real_scans(name, real_images):
    assert_equal_within_one_grey_level(name, real_images)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_batch_without_channels_gives_what_one_channel_gives(name):
    transform, _, arguments = TRANSFORMS[name]
    images = drawn_images()["noise"]
    assert np.array_equal(
        to_numpy(transform(images[..., 0], *arguments)), to_numpy(transform(images, *arguments))[..., 0]
    )


@pytest.mark.parametrize("transform", [lambda images: adjust_sharpness(images, 2.0), autocontrast])
def test_other_than_bytes_is_refused(transform):
    with pytest.raises(ValueError, match="Received: float32"):
        transform(np.zeros((2, 8, 8, 1), np.float32))
    with pytest.raises(ValueError, match="Received: uint8 of shape"):
        transform(np.zeros((8, 8), np.uint8))


def test_a_negative_factor_is_refused():
    with pytest.raises(ValueError, match="Received: -1"):
        adjust_sharpness(drawn_images()["noise"], -1)


def test_keras_cv_stretches_the_contrast_alike():
    layers = pytest.importorskip("keras_cv.layers", exc_type=ImportError)
    images = drawn_images()["narrow"]
    theirs = layers.AutoContrast(value_range=(0, 255))(images.astype("float32"))
    assert np.abs(to_numpy(autocontrast(images)) - to_numpy(theirs)).max() <= 1


# The layer, and the other backends


@pytest.fixture
def scans() -> np.ndarray:
    """400 images uint8 (8, 8, 1): on each, all seven outcomes and leaving it alone differ."""
    return np.random.default_rng(3).integers(60, 160, (400, 8, 8, 1), dtype=np.uint8)


def outcomes(scans: np.ndarray) -> dict[tuple[int, int, int], np.ndarray]:
    """What each choice of (sharpen, stretch, mirror) makes of the images."""
    found = {}
    for choice in np.ndindex(2, 2, 2):
        images = scans
        images = adjust_sharpness(images, 2.0) if choice[0] else images
        images = autocontrast(images) if choice[1] else images
        found[choice] = to_numpy(flip_horizontal(images) if choice[2] else images)
    return found


def choices_of(augmented: np.ndarray, scans: np.ndarray) -> np.ndarray:
    """Which choice made each image, int (N, 3); fails where an image is none of the eight outcomes."""
    matches = {choice: (images == augmented).all(axis=(1, 2, 3)) for choice, images in outcomes(scans).items()}
    table = np.stack(list(matches.values()), 1)
    assert (table.sum(axis=1) == 1).all()
    return np.array(list(matches))[table.argmax(axis=1)]


def test_each_image_draws_each_transform_alone_half_of_the_time(scans):
    choices = choices_of(to_numpy(Augmentation(seed=0)(scans, training=True)), scans)
    assert np.abs(choices.mean(axis=0) - 0.5).max() < 0.1
    assert np.abs(np.corrcoef(choices.T) - np.eye(3)).max() < 0.2
    shares = np.unique(choices, axis=0, return_counts=True)[1] / len(scans)
    assert len(shares) == 8
    assert np.abs(shares - 1 / 8).max() < 0.06


@pytest.mark.parametrize("training", [False, None])
def test_images_pass_untouched_at_evaluation(training, scans):
    layer = Augmentation(seed=0)
    assert np.array_equal(to_numpy(layer(scans, training=training)), scans)
    model = keras.Sequential([keras.Input((8, 8, 1), dtype="uint8"), layer])
    assert np.array_equal(model.predict(scans, verbose=0), scans)


def test_only_the_seed_decides_and_each_call_draws_new_numbers(scans):
    first, again, other = Augmentation(seed=1), Augmentation(seed=1), Augmentation(seed=2)
    calls = [to_numpy(first(scans, training=True)) for _ in range(3)]
    assert all(np.array_equal(call, to_numpy(again(scans, training=True))) for call in calls)
    assert not np.array_equal(calls[0], calls[1])
    assert not np.array_equal(calls[0], to_numpy(other(scans, training=True)))


def test_bytes_stay_bytes_and_the_layer_can_be_written_and_read(scans):
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        layer = Augmentation(seed=7)
    finally:
        keras.config.set_dtype_policy(policy)
    assert keras.backend.standardize_dtype(layer(scans, training=True).dtype) == "uint8"
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert (copy.seed, copy.dtype_policy.name) == (7, "uint8")
    images = keras.Input((8, 8, 1), dtype="uint8")
    symbolic = layer(images, training=True)
    assert (symbolic.shape, symbolic.dtype) == ((None, 8, 8, 1), "uint8")


FITTED = """
import sys, keras, numpy as np
from keras import ops
from lungkeras.augmentation import Augmentation, adjust_sharpness, autocontrast, flip_horizontal

class Keep(keras.layers.Layer):
    def build(self, shape):
        self.kept = self.add_weight(shape=(16, 8, 8, 1), initializer="zeros", trainable=False)

    def call(self, images, training=None):
        if training:
            self.kept.assign(ops.cast(images, "float32"))
        return ops.cast(images, "float32") / 255.0

def fitted(steps):
    augmentation, keep = Augmentation(seed=5), Keep()
    images = keras.Input((8, 8, 1), dtype="uint8")
    pixels = keras.layers.Flatten()(keep(augmentation(images)))
    model = keras.Model(images, keras.layers.Dense(1)(pixels))
    model.compile("sgd", "mse")
    scans = np.random.default_rng(3).integers(60, 160, (16, 8, 8, 1), dtype=np.uint8)
    labels = np.zeros((16, 1), np.float32)
    model.fit(scans, labels, batch_size=16, epochs=steps, shuffle=False, verbose=0)
    in_training = ops.convert_to_numpy(keep.kept).astype(np.uint8)
    model.evaluate(scans, labels, verbose=0)
    return scans, in_training, [int(part) for part in ops.convert_to_numpy(augmentation.draws.state)]

scans, in_training, state = fitted(3)
direct = Augmentation(seed=5)
expected = [ops.convert_to_numpy(direct(scans, training=True)) for _ in range(3)]
assert in_training.shape == scans.shape and not np.array_equal(in_training, scans)
assert np.array_equal(in_training, expected[2]), "a compiled step draws other than the layer alone"
assert state == [5, 3], state
images = np.load(sys.argv[1])
found = [adjust_sharpness(images, 2.0), autocontrast(images), flip_horizontal(images)]
np.save(sys.argv[2], np.stack([ops.convert_to_numpy(each) for each in found]))
print("done on", keras.backend.backend())
"""


@each_backend
def test_every_backend_gives_the_same_bytes_and_draws_in_the_step_as_the_layer_does_alone(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:  # found without importing it beside this process' own backend
        pytest.skip(f"{backend} is not installed")
    images = drawn_images()["narrow"]
    np.save(tmp_path / "images.npy", images)
    done = subprocess.run(
        [sys.executable, "-c", FITTED, str(tmp_path / "images.npy"), str(tmp_path / "found.npy")],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == f"done on {backend}", done.stderr
    expected = [adjust_sharpness(images, 2.0), autocontrast(images), flip_horizontal(images)]
    received = np.load(tmp_path / "found.npy").astype(int)
    assert np.abs(received - np.stack([to_numpy(each) for each in expected])).max() <= 1


# What training does: the same by OpenCV, while batches are gathered


@pytest.mark.parametrize("images", [images for images in drawn_images().values() if images.shape[-1] == 1])
def test_augmented_batches_hold_the_bytes_that_the_layer_makes(images):
    images = np.concatenate([images] * 8)
    chances = np.random.default_rng(0).random((len(images), 3), np.float32)
    expected = to_numpy(Augmentation()(images, chances, training=True))[..., 0]
    received = augment(images[..., 0].copy(), chances)
    most = 0 if keras.backend.backend() == "tensorflow" else 1  # others may divide by way of a reciprocal
    assert np.abs(received.astype(int) - expected).max() <= most


def test_augmented_real_scans_hold_the_bytes_that_the_layer_makes(real_images):
    chances = np.random.default_rng(1).random((len(real_images), 3), np.float32)
    expected = to_numpy(Augmentation()(real_images, chances, training=True))[..., 0]
    received = augment(real_images[..., 0].copy(), chances)
    assert np.abs(received.astype(int) - expected).max() <= (keras.backend.backend() != "tensorflow")


def test_every_range_of_grey_levels_is_stretched_as_by_the_layer():
    ends = [(low, high) for low in range(0, 256, 3) for high in range(low, 256)]
    images = np.stack([np.linspace(low, high, 64).round().astype(np.uint8).reshape(8, 8) for low, high in ends])
    expected = to_numpy(autocontrast(images))
    received = augment(images.copy(), np.tile(np.float32([1, 0, 1]), (len(images), 1)))
    assert np.abs(received.astype(int) - expected).max() <= (keras.backend.backend() != "tensorflow")
