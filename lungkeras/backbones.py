"""The three architectures without their heads, and where their initial weights come from.

Batch norm is torchvision's for each, since the study used torchvision: with Keras' default momentum MobileNetV3 would
look unstable when it is not. Two things differ from torchvision: stride-2 convolutions of MobileNetV3 and EfficientNet
pad one side, as the ImageNet weights of keras.applications want it, and those weights are not torchvision's.
"""

import difflib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from lungkeras import files
from lungkeras.errors import ParamsError, RunError
from lungkeras.model_files import check_weights_file
from lungkeras.resnet import resnet34


@dataclass(frozen=True)
class Backbone:
    """One architecture.

    `features(images, weights)` gives a keras.Model that ends in its last activation (N, h, w, C), built on the tensor
    `images` (N, S, S, 3); `weights` is None, "imagenet" or a file. `momentum` and `epsilon` are torchvision's for batch
    norm, in Keras' terms. `imagenet_epsilon` is what the ImageNet weights were trained with; it goes with them, as the
    features would be others without it. `hidden` (units, 0 for none) and `dropout` describe the head.
    """

    name: str
    title: str
    features: Callable[..., keras.Model]
    momentum: float
    epsilon: float
    imagenet_epsilon: float
    hidden: int
    dropout: float


def _mobilenet_v3_large(images, weights: str | None) -> keras.Model:
    with warnings.catch_warnings():
        # It warns that its weights come from 224 x 224; convolutions take any size.
        warnings.filterwarnings("ignore", message="`input_shape` is undefined")
        return keras.applications.MobileNetV3Large(
            input_tensor=images, include_top=False, include_preprocessing=False, weights=weights
        )


def _efficientnet_b1(images, weights: str | None) -> keras.Model:
    return keras.applications.EfficientNetB1(input_tensor=images, include_top=False, weights=weights)


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone("resnet34", "ResNet-34", resnet34, 0.9, 1e-5, 1e-5, hidden=0, dropout=0.0),
        Backbone("mobilenet_v3_large", "MobileNetV3-Large", _mobilenet_v3_large, 0.99, 1e-3, 1e-3, 1280, 0.2),
        Backbone("efficientnet_b1", "EfficientNet-B1", _efficientnet_b1, 0.9, 1e-5, 1e-3, hidden=0, dropout=0.2),
    )
}


def find_backbone(backbone: str) -> Backbone:
    """A backbone by its name. Raises ParamsError, with the nearest name."""
    if backbone in BACKBONES:
        return BACKBONES[backbone]
    near = difflib.get_close_matches(backbone, BACKBONES, n=1, cutoff=0.4)
    meant = f"; did you mean {near[0]}?" if near else "."
    raise ParamsError(f"backbone: expected one of {', '.join(BACKBONES)}; received {backbone!r}{meant}")


def weights_origin(weights: str | Path) -> str:
    """Where initial weights come from: "random", "imagenet" (by name or file) or "transfer"."""
    if str(weights) in ("random", "imagenet"):
        return str(weights)
    path = Path(weights)
    if path.suffix not in (".keras", ".h5", ".safetensors"):
        raise ParamsError(
            f"weights: expected random, imagenet, or a .keras, .h5 or .safetensors file; received {str(weights)!r}."
        )
    if not path.is_file():
        raise RunError(f"weights: there is no file {path}; its folder holds {files.glance(path.parent)}.")
    return "transfer" if path.suffix == ".keras" else "imagenet"


def extract_features(backbone: Backbone, images, weights: str | None) -> keras.Model:
    """backbone.features, whose failures to fetch or read weights become a RunError."""
    if weights not in (None, "imagenet") and Path(weights).suffix == ".h5":
        check_weights_file(weights)
    try:
        return backbone.features(images, weights)
    except Exception as error:
        # Keras raises a bare Exception without a network, and a wrong file ends in any of a dozen classes.
        if weights is None:
            raise
        reason = str(error).strip().split("\n")[0]
        if weights == "imagenet":
            raise RunError(
                f"weights: the ImageNet weights of {backbone.title} could not be had ({reason}). Download the file "
                f"named there on another machine and give its path as weights."
            ) from error
        raise RunError(f"weights: {weights} does not fit {backbone.title} ({reason}).") from error
