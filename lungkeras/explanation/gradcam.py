"""What a model looks at: Grad-CAM, Grad-CAM++ and LayerCAM.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391), Grad-CAM++ (Chattopadhay et al. 2018, arXiv:1710.11063) and LayerCAM
(Jiang et al. 2021, doi:10.1109/TIP.2021.3089943) on every backend. Layers up to the explained one only run forwards;
the gradient is taken through the layers after it. So no gradient has to pass the uint8 input, which has none.
"""

from collections.abc import Sequence

import numpy as np

from lungkeras.explanation.gradients import gradient_of
from lungkeras.models import architectures
from lungkeras.system.errors import ParamsError

STRENGTH = 0.6
FEW_STEPS = 6  # batches that are differentiated faster than a graph is traced


def explained_layer(model):
    """The layer whose activations are explained, by `architectures.explained_map`. Raises ParamsError."""
    if not hasattr(model, "layers"):  # an inference.Network
        return model.layer
    name = architectures.explained_map(_steps(model))
    if name is None:
        raise ParamsError(f"model: {model.name} has no layer with an output of (N, h, w, C) to explain; give another.")
    return model.get_layer(name)


def cuts(model) -> list:
    """The layers of a keras.Model that can be explained, from the input on, as `architectures.cuts` finds them."""
    return [model.get_layer(step.name) for step in architectures.cuts(_steps(model))]


def _steps(model) -> list[architectures.Step]:
    return [
        architectures.Step(
            layer.name,
            type(layer).__name__,
            tuple(getattr(layer.output, "shape", ())[1:]),
            [source.name for source in architectures.sources(layer)],
        )
        for layer in model.layers
    ]


def layer_to_explain(model, name: str | None):
    """The layer of this name, by default `explained_layer`. Raises ParamsError unless it is one of `cuts`."""
    if name is None:
        return explained_layer(model)
    names = [layer.name for layer in cuts(model)]
    if name not in names:
        raise ParamsError(
            f"layer: expected one of {model.name} that gives a grid and that all later layers depend on, received "
            f"{name!r}; the last of these are {', '.join(names[-5:])}."
        )
    return model.get_layer(name)


def grad_cam(
    model,
    images: np.ndarray,
    classes_index: Sequence[int] | int | None = None,
    *,
    batch_size: int = 32,
    layer: str | None = None,
) -> np.ndarray:
    """Where the evidence for a class lies in each image, at the last layer with a grid of 7 x 7 or more.

    Args:
        model: a keras.Model from uint8 (N, H, W, 1) to logits (N, classes), or an inference.Network.
        images: uint8 of shape (N, H, W) or (N, H, W, 1).
        classes_index: the place of the class whose logit is explained; one for each image, or one for all. None
            explains every class of every image, for multilabel scans.
        layer: the name of another layer to explain, one of `cuts`.

    Returns float32 of shape (N, H, W), for every class (N, classes, H, W), in [0, 1]: each map is divided by its
    maximum, so 0 means no evidence, not the minimum; a map without evidence stays 0. The layer's coarse grid is
    enlarged linearly. Raises ParamsError for a layer that can't be explained.

    >>> model = lungkeras.load_model("reports/demo/runs/pneumonia-resnet34-random/best.keras")
    >>> images = lungkeras.load_prepared("prepared/demo/pneumonia").images["test"]
    >>> lungkeras.grad_cam(model, images, 0).shape
    (9, 32, 32)
    """
    return heat_maps(model, images, classes_index, ("grad_cam",), batch_size=batch_size, layer=layer)["grad_cam"]


def grad_cam_plus_plus(
    model,
    images: np.ndarray,
    classes_index: Sequence[int] | int | None = None,
    *,
    batch_size: int = 32,
    layer: str | None = None,
) -> np.ndarray:
    """As `grad_cam`, with weights that count several places of one finding equally, however small each is."""
    method = "grad_cam_plus_plus"
    return heat_maps(model, images, classes_index, (method,), batch_size=batch_size, layer=layer)[method]


def layer_cam(
    model,
    images: np.ndarray,
    classes_index: Sequence[int] | int | None = None,
    *,
    batch_size: int = 32,
    layer: str | None = None,
) -> np.ndarray:
    """As `grad_cam`, with one weight per place of a channel instead of one per channel: made for finer grids."""
    return heat_maps(model, images, classes_index, ("layer_cam",), batch_size=batch_size, layer=layer)["layer_cam"]


def heat_maps(
    model,
    images: np.ndarray,
    classes_index: Sequence[int] | int | None = None,
    methods: Sequence[str] | None = None,
    *,
    batch_size: int = 32,
    enlarge: bool = True,
    layer: str | None = None,
) -> dict[str, np.ndarray]:
    """{method: maps} of several methods, by default all METHODS, in one pass; arguments and maps as in `grad_cam`.

    Without `enlarge`, maps stay on the layer's grid, (N, h, w) or (N, classes, h, w), and are not divided.
    """
    methods = tuple(METHODS) if methods is None else methods
    images = np.asarray(images)
    images = images[..., 0] if images.ndim == 4 else images
    count = model.output_shape[-1]
    asked = np.arange(count)[None] if classes_index is None else np.reshape(classes_index, (-1, 1))
    asked = np.broadcast_to(asked, (len(images), asked.shape[1]))
    steps = -(-len(images) // batch_size) * asked.shape[1]
    explained, look = _explained(model, layer, often=steps > FEW_STEPS)
    size = images.shape[1:] if enlarge else explained.output.shape[1:3]
    maps = {method: np.zeros((*asked.shape, *size), np.float32) for method in methods}
    for start in range(0, len(images), batch_size):
        batch = slice(start, start + batch_size)
        scans = images[batch]
        for column, places in enumerate(asked[batch].T):
            activations, gradient = look(scans, np.eye(count, dtype=np.float32)[places])
            for method in methods:
                weights = METHODS[method](activations, gradient)
                coarse = np.maximum((activations * weights).sum(axis=-1), 0)
                maps[method][batch, column] = enlarged(coarse, size) if enlarge else coarse
    return maps if classes_index is None else {method: found[:, 0] for method, found in maps.items()}


def _explained(model, name: str | None, *, often: bool):
    """The layer that heat maps explain, and a function from images and chosen logits to its activations and gradients.

    If it is called `often`, tracing its gradient pays off.
    """
    if not hasattr(model, "layers"):  # an inference.Network
        if name not in (None, model.layer.name):
            raise ParamsError(f"layer: without Keras only {model.layer.name} is explained, received {name!r}.")
        return model.layer, model.slopes
    import keras

    from lungkeras.training.outputs import outputs

    layer = layer_to_explain(model, name)
    forwards, head = keras.Model(model.input, layer.output), keras.Model(layer.output, model.output)
    held, differentiate = {}, gradient_of(head, traced=often)

    def look(images: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if held.get("images") is not images:
            held.update(images=images, activations=outputs(forwards, images).astype(np.float32))
        return held["activations"], differentiate(held["activations"], chosen)

    return layer, look


def grad_cam_weights(activations: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The channel weights of Grad-CAM: mean gradients, (N, 1, 1, C), from gradients (N, h, w, C)."""
    return gradient.mean(axis=(1, 2), keepdims=True)


def grad_cam_plus_plus_weights(activations: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The channel weights of Grad-CAM++, (N, 1, 1, C): a weighted mean of positive gradients.

    The weights of that mean are 1 / (2 + gradient x the channel's sum) where the gradient is not 0, divided by their
    sum. The paper explains exp(logit); that factor is constant within an image and cancels when its map is scaled.
    """
    alike = 2 + gradient * activations.sum(axis=(1, 2), keepdims=True)
    shares = np.divide(1, alike, out=np.zeros_like(gradient), where=(gradient != 0) & (alike != 0))
    total = shares.sum(axis=(1, 2), keepdims=True)
    shares = np.divide(shares, total, out=shares, where=total != 0)
    return (shares * np.maximum(gradient, 0)).sum(axis=(1, 2), keepdims=True)


def layer_cam_weights(activations: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The weights of LayerCAM for each place of each channel, (N, h, w, C): the positive gradients, else 0."""
    return np.maximum(gradient, 0)


METHODS = {
    "grad_cam": grad_cam_weights,
    "grad_cam_plus_plus": grad_cam_plus_plus_weights,
    "layer_cam": layer_cam_weights,
}


def enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps (N, h, w) enlarged to images of `size` (H, W): float32 (N, H, W), each divided by its maximum."""
    import cv2

    height, width = size
    maps = np.stack([cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR) for coarse in maps])
    most = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, most, out=np.zeros_like(maps), where=most > 0)


def overlay(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """A scan under its map: RGB uint8 (H, W, 3) from uint8 (H, W) and floats (H, W) in [0, 1].

    The colour map is inferno, which also reads in grey; warmer places cover more of the scan (at most 60 percent), and
    where the map is 0 the scan is unchanged.
    """
    import cv2

    levels = np.rint(255 * np.clip(heatmap, 0, 1)).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = STRENGTH * np.clip(heatmap, 0, 1)[..., None]
    return np.rint((1 - share) * image[..., None] + share * colours).astype(np.uint8)
