"""The architectures without their heads, and where their initial weights come from.

Batch norm settings are torchvision's for each model that torchvision has, since the study used torchvision: with Keras'
default momentum MobileNetV3 would look unstable when it is not. Two things differ from torchvision: stride-2
convolutions of MobileNet and EfficientNet pad one side, as the ImageNet weights of keras.applications require, and
those weights are not torchvision's.
"""

import warnings
from pathlib import Path

import keras

from lungkeras.models import architectures
from lungkeras.models.entry import Backbone
from lungkeras.system import files
from lungkeras.system.errors import ParamsError, RunError
from lungkeras.system.untrusted.hdf5_files import check_weights_file

# The weights of keras.applications' ResNet and VGG were trained in Caffe, on grey levels without their mean; 57.4 is
# the standard deviation of ImageNet's. The others had inputs with a standard deviation of about 1, like ours, or of
# 0.5.
CAFFE_STD = 57.4

# torchvision's settings for the models of keras.applications: momentum, epsilon, hidden, dropout.
TORCHVISION = {
    "densenet121": (0.9, 1e-5, 0, 0.0),
    "densenet169": (0.9, 1e-5, 0, 0.0),
    "densenet201": (0.9, 1e-5, 0, 0.0),
    "efficientnet_b0": (0.9, 1e-5, 0, 0.2),
    "efficientnet_b1": (0.9, 1e-5, 0, 0.2),
    "efficientnet_b2": (0.9, 1e-5, 0, 0.3),
    "efficientnet_b3": (0.9, 1e-5, 0, 0.3),
    "efficientnet_b4": (0.9, 1e-5, 0, 0.4),
    "efficientnet_b5": (0.99, 1e-3, 0, 0.4),
    "efficientnet_b6": (0.99, 1e-3, 0, 0.5),
    "efficientnet_b7": (0.99, 1e-3, 0, 0.5),
    "efficientnet_v2_s": (0.9, 1e-3, 0, 0.2),
    "efficientnet_v2_m": (0.9, 1e-3, 0, 0.3),
    "efficientnet_v2_l": (0.9, 1e-3, 0, 0.4),
    "inception_v3": (0.9, 1e-3, 0, 0.5),
    "mobilenet_v2": (0.9, 1e-5, 0, 0.2),
    "mobilenet_v3_large": (0.99, 1e-3, 1280, 0.2),
    "mobilenet_v3_small": (0.99, 1e-3, 1024, 0.2),
    "resnet50": (0.9, 1e-5, 0, 0.0, CAFFE_STD),
    "resnet101": (0.9, 1e-5, 0, 0.0, CAFFE_STD),
    "resnet152": (0.9, 1e-5, 0, 0.0, CAFFE_STD),
    # No batch norm, and one linear layer where torchvision has three.
    "vgg16": (None, None, 0, 0.0, CAFFE_STD),
    "vgg19": (None, None, 0, 0.0, CAFFE_STD),
}


def _application(name: str) -> Backbone:
    """A model of keras.applications. Its own preprocessing is removed when our model is built."""
    title = architectures.title(name)

    def features(images, weights: str | None) -> keras.Model:
        build = getattr(keras.applications, title.replace("-", ""))
        with warnings.catch_warnings():
            # MobileNets warn that their weights come from 224 x 224; convolutions take any size.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined")
            return build(input_tensor=images, input_shape=images.shape[1:], include_top=False, weights=weights)

    return Backbone(name, title, features, *TORCHVISION.get(name, ()))


def _keras_hub(name: str) -> Backbone:
    """A preset of KerasHub, or a folder of that name that `save_to_preset` wrote in the working directory.

    From random weights only its plan (config.json) is fetched.
    """
    preset = name.removeprefix(architectures.HUB)

    def features(images, weights: str | None) -> keras.Model:
        try:
            import keras_hub
        except ImportError as error:
            raise RunError(f"backbone: {name} needs KerasHub; install it with pip install 'lungkeras[hub]'.") from error
        hub = keras_hub.models.Backbone.from_preset(
            preset, load_weights=weights == "imagenet", image_shape=tuple(images.shape[1:])
        )
        strange = {type(layer).__name__ for layer in every_layer(hub) if not _is_of_keras(layer)}
        if strange or not isinstance(hub.output, keras.KerasTensor) or len(hub.output.shape) != 4:
            raise ParamsError(
                f"backbone: {name} is not a graph of Keras' own layers from images to a map of features"
                f"{' (it holds ' + ', '.join(sorted(strange)) + ')' if strange else ''}; ResNet, DenseNet and VGG are."
            )
        if weights not in (None, "imagenet"):
            hub.load_weights(weights)
        return keras.Model(keras.utils.get_source_inputs(images)[0], hub(images), name=preset)

    return Backbone(name, name, features)


def _is_of_keras(layer: keras.Layer) -> bool:
    return type(layer).__module__.startswith("keras.")


def every_layer(model: keras.Model):
    """The layers of a model and of the models in it, which are not counted themselves."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from every_layer(layer)
        else:
            yield layer


# Those with a contract test; find_backbone knows many more.
BACKBONES = {
    **architectures.OWN,
    **{name: _application(name) for name in ("mobilenet_v3_large", "efficientnet_b1", "densenet121")},
}


def find_backbone(backbone: str) -> Backbone:
    """A backbone by its name, as architectures has them. Raises ParamsError, with the nearest."""
    if fault := architectures.fault(backbone):
        raise ParamsError(f"backbone: {fault}; received {backbone!r}.")
    if backbone in BACKBONES:
        return BACKBONES[backbone]
    return _keras_hub(backbone) if backbone.startswith(architectures.HUB) else _application(backbone)


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
    """backbone.features, with failures to fetch or read weights, or to fit the image size, as one sentence."""
    if weights not in (None, "imagenet") and Path(weights).suffix == ".h5":
        check_weights_file(weights)
    try:
        return backbone.features(images, weights)
    except (ParamsError, RunError):
        raise
    except Exception as error:
        # Keras raises a bare Exception without a network, and a wrong file raises any of a dozen exceptions.
        reason = str(error).strip().split("\n")[0]
        if weights is None and backbone.name.startswith(architectures.HUB):
            raise RunError(f"backbone: the architecture of {backbone.name} could not be loaded ({reason}).") from error
        if weights is None and isinstance(error, ValueError):
            raise ParamsError(
                f"image_size: {backbone.title} can't be built for {images.shape[1]} pixels ({reason})."
            ) from error
        if weights is None:
            raise
        if weights == "imagenet":
            raise RunError(
                f"weights: the ImageNet weights of {backbone.title} could not be downloaded ({reason}). Download "
                "the file named there on another machine and give its path as weights."
            ) from error
        raise RunError(f"weights: {weights} does not fit {backbone.title} ({reason}).") from error
