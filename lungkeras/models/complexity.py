"""How large a model is: parameters, layers and multiply-accumulates, counted from the model itself (Table 2)."""

import math
import re

import keras

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
# The inverted-residual blocks of keras.applications: EfficientNet's "block2a_", MobileNetV3's "expanded_conv_3_",
# MobileNetV2's "block_3_".
BLOCK = re.compile(r"block\d+[a-z]_|block_\d+_|expanded_conv_(?:\d+_)?")
# The projections of the shortcuts, as ours and keras.applications' ResNets call them.
PROJECTION = re.compile(r"downsample|_0_conv$")


def count_parameters(model: keras.Model) -> int:
    """The weights that training changes, the logits' included; without the moving statistics of batch norm."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def weighted_layers(model: keras.Model) -> list[keras.Layer]:
    """All convolutional and dense layers of a flat model, in the order of data flow."""
    return [layer for layer in model.layers if isinstance(layer, (*CONVOLUTIONS, keras.layers.Dense))]


def count_layers(model: keras.Model) -> int:
    """The depth as the published Table 2 counts it: 34 for ResNet-34, 18 for MobileNetV3-Large, 25 for EfficientNet-B1.

    ResNet-34's name counts every weighted layer on the main path: 33 convolutions (without the projections of the
    shortcuts) and the classifier; DenseNet-121's does too. For the other two, an inverted-residual block is one,
    however many convolutions it holds, and the classifier is none: 18 is the stem, 15 blocks and the two layers behind
    them, 25 the stem, 23 blocks and the last convolution. len(weighted_layers(model)) compares all by one rule.
    """
    names = [layer.name for layer in weighted_layers(model) if not PROJECTION.search(layer.name)]
    blocks = {match.group() for match in map(BLOCK.match, names) if match}
    alone = [name for name in names if not BLOCK.match(name)]
    if not blocks:
        return len(alone)
    return len(blocks) + sum(name != "logits" for name in alone)


def count_multiply_accumulates(model: keras.Model) -> int:
    """Multiply-accumulates of one image at the model's input size, as torchvision publishes them ("GFLOPS").

    Every weight of a kernel is used once for each pixel of its output. Biases, batch norm, activations, pooling and the
    excitations' products are left out: they come to less than 1%.
    """
    return sum(
        math.prod(kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in weighted_layers(model)
        for kernel in layer.weights
        if len(kernel.shape) > 1
    )
