"""ResNet-34, which keras.applications lacks."""

from lungkeras.models.entry import Backbone


def features(images, weights: str | None):
    """See lungkeras.models.resnet."""
    from lungkeras.models.resnet import resnet34

    return resnet34(images, weights)


BACKBONE = Backbone("resnet34", "ResNet-34", features, 0.9, 1e-5)
