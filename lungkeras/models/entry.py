"""The description of a backbone: one `Backbone`, without Keras, so params are checked at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Backbone:
    """One architecture.

    `features(images, weights)` returns a keras.Model that ends in its last activation (N, h, w, C), built on the tensor
    `images` (N, S, S, 3); `weights` is None, "imagenet" or a file. `momentum` and `epsilon` are torchvision's for batch
    norm, in Keras' terms; None keeps what Keras builds. ImageNet weights keep the epsilon that they were trained with,
    as another one would change the features, and get inputs whose standard deviation is `imagenet_std`. `hidden`
    (units, 0 for none) and `dropout` describe the head.
    """

    name: str
    title: str
    features: Callable[..., keras.Model]
    momentum: float | None = None
    epsilon: float | None = None
    hidden: int = 0
    dropout: float = 0.0
    imagenet_std: float = 1.0
