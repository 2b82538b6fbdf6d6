"""The study's three random transforms, each for half of the scans.

Training applies them while it gathers a batch: `augment` works on bytes with OpenCV, takes a tenth of the time of
tensors on one core, and gives the same bytes on every backend. The layer `Augmentation` is for models that include
them.

Each function equals its namesake in torchvision.transforms.v2.functional within one grey level, image by image, on
every Keras backend. Batches are uint8 in [0, 255] of shape (batch, height, width) or (batch, height, width, channels).
"""

import keras
import numpy as np
from keras import ops

from lungkeras.datasets.scans.opencv import cv2

SHARPNESS_FACTOR = 2.0
PROBABILITY = 0.5
TRANSFORMS = 3
SMOOTHING = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def augment(images: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Sharpens (factor 2), stretches and mirrors the images for which each chance is below one half, in place.

    images uint8 (batch, height, width), chances float32 (batch, 3) in [0, 1). Returns the images: the bytes that the
    layer `Augmentation` makes of the same two on TensorFlow.
    """
    for image, (sharpens, stretches, mirrors) in zip(images, chances < PROBABILITY, strict=True):
        if sharpens and min(image.shape) > 2:
            # Multiples of 1/13 are never halfway between two integers, so every order of summation rounds the same way.
            smoothed = cv2.filter2D(image, -1, SMOOTHING)
            image[1:-1, 1:-1] = cv2.addWeighted(image, SHARPNESS_FACTOR, smoothed, -1, 0)[1:-1, 1:-1]
        if stretches:
            image[:] = cv2.LUT(image, stretched_levels(image.min(), image.max()))
        if mirrors:
            image[:] = cv2.flip(image, 1)
    return images


def stretched_levels(darkest: int, brightest: int) -> np.ndarray:
    """uint8 (256,): the lookup table of `autocontrast` for an image with grey levels between these two."""
    levels = np.arange(256, dtype=np.float32)
    if brightest > darkest:
        scale = np.float32(brightest - darkest) * np.float32(1 / 255)
        levels = (levels - np.float32(darkest)) / scale
    return levels.clip(0, 255).astype(np.uint8)


def adjust_sharpness(images, factor: float):
    """Blends each image with a smoothed copy of itself: factor 0 smooths, 1 changes nothing, 2 sharpens.

    The smoothed copy weights the pixel with 5 and its eight neighbours with 1, over 13, and is rounded; the outermost
    pixels are unchanged, and so are images of two pixels or fewer per side. Neighbours are summed by rows and then by
    columns, which takes a third of a convolution's time on a CPU.

    >>> import numpy as np
    >>> spot = np.zeros((1, 3, 3, 1), np.uint8)
    >>> spot[0, 1, 1] = 130
    >>> [int(lungkeras.adjust_sharpness(spot, factor)[0, 1, 1, 0]) for factor in (0.0, 1.0, 2.0)]
    [50, 130, 210]
    """
    if factor < 0:
        raise ValueError(f"Expected a sharpness factor of 0 or more. Received: {factor}")
    return through_float(images, lambda pixels: sharpened(pixels, factor))


def autocontrast(images):
    """Stretches each channel of each image so that its darkest pixel becomes 0 and its brightest 255, or 254.

    A channel with a single grey level is unchanged. float32 is cut off to whole grey levels, as in torchvision.

    >>> import numpy as np
    >>> image = np.array([100, 150, 200], np.uint8).reshape(1, 1, 3, 1)
    >>> np.ravel(lungkeras.autocontrast(image)).tolist()
    [0, 127, 254]
    """
    return through_float(images, stretched)


def flip_horizontal(images):
    """Mirrors each image left to right.

    >>> import numpy as np
    >>> image = np.array([50, 100, 150], np.uint8).reshape(1, 1, 3, 1)
    >>> np.ravel(lungkeras.flip_horizontal(image)).tolist()
    [150, 100, 50]
    """
    return ops.flip(images, axis=2)


def sharpened(pixels, factor):
    """`adjust_sharpness` of float32 pixels; `factor` may be of shape (batch, 1, 1, 1), one for each image."""
    if any(side is not None and side <= 2 for side in pixels.shape[1:3]):
        return pixels
    rows = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    neighbours = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = pixels[:, 1:-1, 1:-1]
    smoothed = ops.round((neighbours + 4.0 * inner) * (1.0 / 13.0))
    change = ops.pad((1.0 - factor) * (smoothed - inner), [[0, 0], [1, 1], [1, 1], [0, 0]])
    return ops.floor(ops.clip(pixels + change, 0.0, 255.0))


def stretched(pixels, chosen=True):
    """`autocontrast` of float32 pixels; `chosen`, of shape (batch, 1, 1, 1), says which images."""
    darkest = ops.min(pixels, axis=(1, 2), keepdims=True)
    brightest = ops.max(pixels, axis=(1, 2), keepdims=True)
    chosen = ops.logical_and(chosen, brightest > darkest)
    scale = ops.where(chosen, (brightest - darkest) * (1.0 / 255.0), 1.0)
    return ops.floor(ops.clip((pixels - ops.where(chosen, darkest, 0.0)) / scale, 0.0, 255.0))


def through_float(images, transform):
    """Applies a function of float32 pixels (batch, height, width, channels) to a batch of bytes."""
    images = ops.convert_to_tensor(images)
    dtype, dimensions = keras.backend.standardize_dtype(images.dtype), len(images.shape)
    if dtype != "uint8" or dimensions not in (3, 4):
        raise ValueError(
            "Expected uint8 images of shape (batch, height, width) or (batch, height, width, channels). "
            f"Received: {dtype} of shape {tuple(images.shape)}"
        )
    pixels = ops.cast(images if dimensions == 4 else ops.expand_dims(images, -1), "float32")
    changed = ops.cast(transform(pixels), "uint8")
    return changed if dimensions == 4 else ops.squeeze(changed, -1)


@keras.saving.register_keras_serializable(package="lungkeras")
class Augmentation(keras.layers.Layer):
    """Sharpens (factor 2), stretches the contrast and mirrors, each independently with probability one half per image.

    Takes and returns uint8 of shape (batch, height, width, channels). Acts only if `training` is True, as in `fit`;
    `predict` and `evaluate` leave images unchanged. `chances`, float32 of shape (batch, 3) in [0, 1), decide which
    image gets which transform (those below one half), equally on every backend; without them each call draws new ones
    from the seed, by the backend's own generator.

    >>> import numpy as np
    >>> images = lungkeras.load_prepared("prepared/demo/pneumonia").images["train"][:8, :, :, None]
    >>> augmentation = lungkeras.Augmentation(seed=0)
    >>> augmentation(images, training=True).shape == images.shape
    True
    >>> np.array_equal(augmentation(images, training=False), images)
    True
    """

    def __init__(self, seed: int | None = None, **options):
        super().__init__(**{"dtype": "uint8", "autocast": False, **options})
        self.seed = seed
        self.draws = keras.random.SeedGenerator(seed)

    def call(self, images, chances=None, training=None):
        if not training:
            return images
        if chances is None:
            chances = keras.random.uniform((ops.shape(images)[0], TRANSFORMS), dtype="float32", seed=self.draws)
        drawn = ops.reshape(chances < PROBABILITY, (-1, TRANSFORMS, 1, 1, 1))
        factors = ops.where(drawn[:, 0], SHARPNESS_FACTOR, 1.0)
        images = through_float(images, lambda pixels: stretched(sharpened(pixels, factors), drawn[:, 1]))
        return ops.where(drawn[:, 2], flip_horizontal(images), images)

    def compute_output_shape(self, images_shape, chances_shape=None):
        return images_shape

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
