"""Residual blocks that start as the identity: the last batch norm of each branch has the scale 0 before training.

Goyal et al. 2017, "Accurate, large minibatch SGD"; torchvision calls it `zero_init_residual`. A deep network then
starts as a shallow one, and leaves its first plateau within a few hundred steps.
"""

import keras

from lungkeras.models.architectures import sources


def zero_init_residual(model: keras.Model) -> int:
    """Sets the scale of the last batch norm of each residual branch to 0, in place; returns how many there are.

    `model` is flat, as `build_model` makes it. Of the two inputs of an addition the branch is the one with more layers
    before it, the other is the shortcut.
    """
    depths: dict[str, int] = {}
    for operation in model.operations:  # in the order in which they are computed
        depths[operation.name] = 1 + max((depths[source.name] for source in sources(operation)), default=0)
    found = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Add):
            branch = max(sources(layer), key=lambda source: depths[source.name])
            while isinstance(branch, keras.layers.Dropout):
                (branch,) = sources(branch)
            if isinstance(branch, keras.layers.BatchNormalization) and branch.scale:
                branch.gamma.assign(keras.ops.zeros(branch.gamma.shape))
                found += 1
    return found
