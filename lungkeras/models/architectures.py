"""The names of backbones and their titles in tables and figures; without Keras, so params are checked at once.

A backbone is one of these names, or `keras_hub.<preset>` for a preset of KerasHub, as in keras_hub.resnet_18_imagenet.
"""

import difflib
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from lungkeras.models import own
from lungkeras.system.lazy import entries

STUDY = ("resnet34", "mobilenet_v3_large", "efficientnet_b1")
HUB = "keras_hub."
LEAST_CELLS = 7  # per side of a heat map: the last layer's grid at 224 pixels, the smallest of the study's own sizes
# KerasHub's transformers for images, by the first word of their presets.
TRANSFORMERS = {
    *("vit", "deit", "mit", "swin", "segformer", "dinov2", "dinov3", "sam", "sam3", "clip", "metaclip", "siglip"),
    *("siglip2", "medsiglip", "depth", "videoprism"),
}

# A title without its hyphens is the model's name in keras.applications: "DenseNet-121" is DenseNet121.
APPLICATIONS = {
    "convnext_base": "ConvNeXt-Base",
    "convnext_large": "ConvNeXt-Large",
    "convnext_small": "ConvNeXt-Small",
    "convnext_tiny": "ConvNeXt-Tiny",
    "convnext_xlarge": "ConvNeXt-XLarge",
    "densenet121": "DenseNet-121",
    "densenet169": "DenseNet-169",
    "densenet201": "DenseNet-201",
    "efficientnet_b0": "EfficientNet-B0",
    "efficientnet_b1": "EfficientNet-B1",
    "efficientnet_b2": "EfficientNet-B2",
    "efficientnet_b3": "EfficientNet-B3",
    "efficientnet_b4": "EfficientNet-B4",
    "efficientnet_b5": "EfficientNet-B5",
    "efficientnet_b6": "EfficientNet-B6",
    "efficientnet_b7": "EfficientNet-B7",
    "efficientnet_v2_b0": "EfficientNetV2-B0",
    "efficientnet_v2_b1": "EfficientNetV2-B1",
    "efficientnet_v2_b2": "EfficientNetV2-B2",
    "efficientnet_v2_b3": "EfficientNetV2-B3",
    "efficientnet_v2_l": "EfficientNetV2-L",
    "efficientnet_v2_m": "EfficientNetV2-M",
    "efficientnet_v2_s": "EfficientNetV2-S",
    "inception_resnet_v2": "Inception-ResNetV2",
    "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_large": "MobileNetV3-Large",
    "mobilenet_v3_small": "MobileNetV3-Small",
    "nasnet_large": "NASNet-Large",
    "nasnet_mobile": "NASNet-Mobile",
    "resnet101": "ResNet-101",
    "resnet101_v2": "ResNet-101V2",
    "resnet152": "ResNet-152",
    "resnet152_v2": "ResNet-152V2",
    "resnet50": "ResNet-50",
    "resnet50_v2": "ResNet-50V2",
    "vgg16": "VGG-16",
    "vgg19": "VGG-19",
    "xception": "Xception",
}
OWN = entries(own, "BACKBONE")
TITLES = {name: backbone.title for name, backbone in OWN.items()} | APPLICATIONS


def fault(backbone: str) -> str | None:
    """Why a name is not a backbone, with the nearest valid name; None if it is one."""
    of_hub = backbone.startswith(HUB) and backbone.removeprefix(HUB).isidentifier()
    if of_hub and backbone.removeprefix(HUB).split("_")[0] in TRANSFORMERS:
        return f"expected a preset of ResNet, DenseNet or VGG after {HUB}, as transformers give no map of features"
    if backbone in TITLES or of_hub:
        return None
    likeness = {known: difflib.SequenceMatcher(None, backbone, known).ratio() for known in TITLES}
    near = max(TITLES, key=lambda known: (likeness[known], known in STUDY))
    meant = f" (did you mean {near}?)" if likeness[near] > 0.5 else f" (known are {', '.join(TITLES)})"
    return f"expected resnet34, a model of keras.applications such as densenet121, or {HUB}<preset>{meant}"


def last_map(layers):
    """The last of a model's layers whose output is a map, (N, h, w, C)."""
    return next(layer for layer in reversed(layers) if len(layer.output.shape) == 4)


class Step(NamedTuple):
    """A layer of a model: its name and kind, its output shape without N, and its input layers."""

    name: str
    kind: str
    shape: Sequence[int]
    inputs: Sequence[str]


def sources(operation) -> list:
    """The operations of a Keras graph whose outputs an operation, such as a layer, reads."""
    return [tensor._keras_history.operation for node in operation._inbound_nodes for tensor in node.input_tensors]


def cuts(steps: Sequence[Step]) -> list[Step]:
    """The layers with an output of (h, w, C) through which every path to the logits goes: no branch of a block.

    `steps` are in the order of computation. Padding is left out, as its grid is larger than what the network has seen.
    """
    last_use = {name: place for place, step in enumerate(steps) for name in step.inputs}
    found, reach = [], 0
    for place, step in enumerate(steps):
        if reach <= place and len(step.shape) == 3 and step.kind not in ("InputLayer", "ZeroPadding2D"):
            found.append(step)
        reach = max(reach, last_use.get(step.name, place))
    return found


def explained_map(steps: Sequence[Step]) -> str | None:
    """The name of the layer that heat maps explain: the last of `cuts` with a grid of LEAST_CELLS or more per side.

    If there is none, it is the end of the finer of the last two stages (runs of layers of one grid); None if no layer
    has a grid.
    """
    found = cuts(steps)
    fine = [step for step in found if min(step.shape[:2]) >= LEAST_CELLS]
    stages = [list(stage)[-1] for _, stage in groupby(fine or found, key=lambda step: tuple(step.shape[:2]))]
    ends = stages[-1:] if fine else stages[-2:]
    return max(reversed(ends), key=lambda step: min(step.shape[:2])).name if ends else None


def title(backbone: str) -> str:
    """ "densenet121" -> "DenseNet-121"; other names are unchanged."""
    return TITLES.get(backbone, backbone)
