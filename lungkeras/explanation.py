"""What a model looks at, and how it arranges scans: Grad-CAM and t-SNE.

Grad-CAM is that of tf-keras-vis, on TensorFlow (Selvaraju et al. 2017, arXiv:1610.02391). Everything up to the last
convolution is only run forwards; the gradient is taken of what follows it. So no gradient has to pass the uint8 input,
where there is none, and a batch costs little more than a prediction.
"""

from collections.abc import Sequence

import numpy as np

from lungkeras.errors import RunError
from lungkeras.evaluation import outputs

STRENGTH = 0.6


def grad_cam(model, images: np.ndarray, classes_index: Sequence[int] | int, *, batch_size: int = 32) -> np.ndarray:
    """Where the evidence for a class lies in each image, at the last convolutional layer.

    Args:
        model: a keras.Model from uint8 (N, H, W, 1) to logits (N, classes).
        images: uint8 of shape (N, H, W) or (N, H, W, 1).
        classes_index: the place of the class whose logit is explained; one for each image, or one for all.

    Returns float32 of shape (N, H, W) in [0, 1]: each map is divided by its maximum, so 0 means no evidence and not
    the least of it; a map without any stays 0. From the layer's coarse grid it is enlarged linearly.
    Raises RunError where Keras runs on another backend than TensorFlow.
    """
    import keras

    from lungkeras.models import last_convolution

    if keras.backend.backend() != "tensorflow":
        raise RunError(
            f"Grad-CAM needs TensorFlow; Keras runs on {keras.backend.backend()}. Set KERAS_BACKEND=tensorflow."
        )
    from tf_keras_vis.gradcam import Gradcam

    images = _with_channel(images)
    chosen = np.broadcast_to(np.asarray(classes_index), len(images))
    convolution = last_convolution(model).output
    forwards = keras.Model(model.input, convolution)
    head = keras.Model(convolution, model.output)
    explain = Gradcam(head, clone=False)
    maps = [np.zeros((0, *images.shape[1:3]), np.float32)]
    for start in range(0, len(images), batch_size):
        batch = slice(start, start + batch_size)
        activations = forwards(images[batch], training=False)
        coarse = explain(
            _logits_of(chosen[batch]),
            activations,
            penultimate_layer=head.layers[0],
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )
        maps.append(_enlarged(np.asarray(coarse, np.float32), images.shape[1:3]))
    return np.concatenate(maps)


def _with_channel(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    return images[..., None] if images.ndim == 3 else images


def _logits_of(chosen: np.ndarray):
    """The score that Grad-CAM explains: of each image the logit of its class."""
    return lambda logits: [logits[row, place] for row, place in enumerate(chosen)]


def _enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    height, width = size
    maps = np.stack([cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR) for coarse in maps])
    most = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, most, out=np.zeros_like(maps), where=most > 0)


def features(model, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """The penultimate features, float32 (N, F), of uint8 images (N, H, W): what the logits are computed from."""
    import keras

    from lungkeras.models import penultimate

    return outputs(keras.Model(model.input, penultimate(model).output), images, batch_size=batch_size)


def embed(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of features (N, F): float32 (N, 2), by scikit-learn, starting from the first two principal components.

    The perplexity is 30, or a third of the neighbours there are: (N - 1) / 3. Features that are not numbers (of a model
    that diverged) count as 0; where all scans look the same to the model, or they are fewer than four, nothing can be
    arranged and all come to lie at the origin.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    features = np.nan_to_num(np.asarray(features, np.float32), posinf=0.0, neginf=0.0)
    if len(features) < 4 or np.ptp(features, axis=0).max() == 0:
        return np.zeros((len(features), 2), np.float32)
    perplexity = min(30.0, (len(features) - 1) / 3)
    start = "pca" if features.shape[1] > 1 else "random"
    # One thread: on shared cores, threads that wait for each other take longer, and sums in one order repeat exactly.
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(features)


def overlay(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """A scan under its map: RGB uint8 (H, W, 3) from uint8 (H, W) and floats (H, W) in [0, 1].

    The colours are those of inferno, which also reads in grey; the warmer a place, the more it covers the scan (at most
    60 percent), and where the map is 0 the scan is untouched.
    """
    import cv2

    levels = np.rint(255 * np.clip(heatmap, 0, 1)).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = STRENGTH * np.clip(heatmap, 0, 1)[..., None]
    return np.rint((1 - share) * image[..., None] + share * colours).astype(np.uint8)
