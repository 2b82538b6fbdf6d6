"""Maps by other methods, as tf-keras-vis computes them: Score-CAM, Faster Score-CAM, saliency and SmoothGrad.

Score-CAM (Wang et al. 2020, arXiv:1910.01279) needs no gradient: it covers the scan by the map of each channel of a
layer, and weights the channel by the prediction. Saliency (Simonyan et al. 2014, arXiv:1312.6034) is the gradient of
the logit by each pixel, and SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825) its mean over noisy copies of the scan.

tf-keras-vis runs on TensorFlow alone. Pixels count as the model's first layer scales them, where 0 is a middle grey.
"""

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from lungkeras.explanation.gradcam import cuts, enlarged, layer_to_explain
from lungkeras.system.errors import ParamsError, RunError

METHODS = {
    "score_cam": "Score-CAM",
    "faster_score_cam": "Faster Score-CAM",
    "saliency": "Saliency",
    "smooth_grad": "SmoothGrad",
}
FEW_CHANNELS = 10  # of Faster Score-CAM: those that vary most within the scan
NOISE = 0.2  # standard deviation of SmoothGrad's noise, as a share of the range of the scan


def available() -> bool:
    """Whether tf-keras-vis is installed and Keras runs on TensorFlow."""
    import keras

    return keras.backend.backend() == "tensorflow" and importlib.util.find_spec("tf_keras_vis") is not None


def other_heat_maps(
    model,
    images: np.ndarray,
    classes_index: Sequence[int] | int,
    methods: Sequence[str] | None = None,
    *,
    layer: str | None = None,
    samples: int = 20,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """{method: maps} of several METHODS, by default all of them.

    Args:
        model: a keras.Model from uint8 (N, H, W, 1) to logits (N, classes).
        images: uint8 of shape (N, H, W).
        classes_index: the place of the class whose logit is explained; one for each image, or one for all. Score-CAM
            takes the softmax of the logits, also of findings.
        layer: the layer whose channels Score-CAM takes, as in `grad_cam`; the others explain pixels.
        samples: noisy copies of each scan for SmoothGrad, drawn from `seed`.

    Returns float32 of shape (N, H, W) in [0, 1], each map divided by its maximum. Score-CAM costs one prediction per
    channel. Raises RunError where tf-keras-vis is not installed or Keras does not run on TensorFlow, ParamsError for an
    unknown method or layer.
    """
    methods = tuple(METHODS) if methods is None else methods
    for method in methods:
        if method not in METHODS:
            raise ParamsError(f"methods: expected some of {', '.join(METHODS)}, received {method!r}; choose of these")
    if not available():
        raise RunError(
            "These methods need tf-keras-vis, and Keras on TensorFlow: "
            "pip install 'lungkeras[tensorflow,tf-keras-vis]', and set backend: tensorflow"
        )
    import keras

    chosen = layer_to_explain(model, layer)
    scaled = next(found for found in cuts(model) if "float" in str(found.output.dtype))
    # Cloned, so that each layer is called once: tf-keras-vis reads `layer.output`.
    shared = keras.Model(scaled.output, model.output)
    head = keras.models.clone_model(shared)
    head.set_weights(shared.get_weights())
    pixels = keras.ops.convert_to_numpy(keras.Model(model.input, scaled.output)(np.asarray(images)[..., None]))
    places = np.broadcast_to(np.reshape(classes_index, -1), len(images))
    maps = {method: np.zeros(np.shape(images), np.float32) for method in methods}
    with _quietly(), _drawing_from(seed):
        for place, column in enumerate(places):
            for method in methods:
                found = _map(method, head, pixels[place][None], int(column), chosen.name, samples)
                maps[method][place] = enlarged(np.maximum(found, 0), np.shape(images)[1:])[0]
    return maps


def _map(method: str, head, pixels: np.ndarray, column: int, layer: str, samples: int) -> np.ndarray:
    """The map of one scan, float32 (1, h, w), as the method gives it."""
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.scorecam import Scorecam

    def score(outputs):
        return outputs[:, column]

    if method in ("saliency", "smooth_grad"):
        copies = samples if method == "smooth_grad" else 0
        found = Saliency(head, clone=False)(
            score, pixels, smooth_samples=copies, smooth_noise=NOISE, normalize_map=False
        )
    else:
        few = min(FEW_CHANNELS, head.get_layer(layer).output.shape[-1]) if method == "faster_score_cam" else None
        looked = {"penultimate_layer": layer, "seek_penultimate_conv_layer": False, "max_N": few}
        found = Scorecam(head, clone=False)(score, pixels, **looked, expand_cam=False, normalize_cam=False)
    return np.asarray(found, np.float32)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the bars of progress of tf-keras-vis, and Keras' warning that it gives a list of one input."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
        yield


@contextlib.contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """Within the block numpy's own generator, which tf-keras-vis draws from, starts at `seed`."""
    kept = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(kept)  # noqa: NPY002


__all__ = ["METHODS", "available", "other_heat_maps"]
