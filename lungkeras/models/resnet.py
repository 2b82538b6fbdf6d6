"""ResNet-34 as torchvision builds it, which keras.applications lacks (He et al. 2016, arXiv:1512.03385)."""

from pathlib import Path

import keras
import numpy as np
from keras import layers

from lungkeras.system.untrusted import json_files

BLOCKS = {64: 3, 128: 4, 256: 6, 512: 3}
# torchvision's own ImageNet weights (top-5 91.42%), in the one format that needs no PyTorch to read.
IMAGENET_URL = "https://huggingface.co/timm/resnet34.tv_in1k/resolve/main/model.safetensors"


def resnet34(images, weights: str | None = None) -> keras.Model:
    """ResNet-34 without its head: from normalised images (N, H, W, 3) to features (N, H/32, W/32, 512).

    A layer is named after torchvision's module, with _ for its dots: layer2_0_downsample_0. `weights` is None (He's
    initialisation), "imagenet" (fetched once) or a .safetensors file under torchvision's or timm's names.
    """
    x = _convolve(images, 64, 7, stride=2, name="conv1", norm="bn1")
    x = layers.ReLU(name="relu")(x)
    x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="maxpool")(x)
    for stage, (filters, blocks) in enumerate(BLOCKS.items(), start=1):
        for block in range(blocks):
            x = _block(x, filters, stride=2 if stage > 1 and block == 0 else 1, name=f"layer{stage}_{block}")
    model = keras.Model(keras.utils.get_source_inputs(images)[0], x, name="resnet34")
    if weights == "imagenet":
        weights = keras.utils.get_file("resnet34.tv_in1k.safetensors", IMAGENET_URL, cache_subdir="models")
    if weights is not None:
        load_torchvision(model, read_safetensors(weights))
    return model


def _block(x, filters: int, *, stride: int, name: str):
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = _convolve(x, filters, 1, stride=stride, name=f"{name}_downsample_0", norm=f"{name}_downsample_1")
    x = _convolve(x, filters, 3, stride=stride, name=f"{name}_conv1", norm=f"{name}_bn1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _convolve(x, filters, 3, stride=1, name=f"{name}_conv2", norm=f"{name}_bn2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _convolve(x, filters: int, size: int, *, stride: int, name: str, norm: str):
    # Both sides are padded, as torchvision does: "same" pads one side only where a stride meets an even size.
    if size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    he_normal = keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")
    x = layers.Conv2D(filters, size, strides=stride, use_bias=False, kernel_initializer=he_normal, name=name)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm)(x)


def load_torchvision(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Sets a ResNet-34's weights from torchvision's, by name. Raises KeyError or ValueError where they do not fit."""
    for layer in model.layers:
        module = layer.name.replace("_", ".")
        if isinstance(layer, layers.Conv2D):
            layer.set_weights([tensors[f"{module}.weight"].transpose(2, 3, 1, 0)])
        elif isinstance(layer, layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([tensors[f"{module}.{part}"] for part in parts])


def read_safetensors(path: Path | str) -> dict[str, np.ndarray]:
    """The float32 arrays of a .safetensors file: the header's length (8 bytes), a JSON header, the raw data."""
    data = Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json_files.loads(data[8:start])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, last = (start + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[first:last], "<f4").reshape(entry["shape"])
    return tensors
