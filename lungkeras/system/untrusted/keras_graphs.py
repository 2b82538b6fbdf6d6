"""Checks the config of a Keras model: a functional graph of known layers, each with known settings."""

import math
import re
from collections.abc import Callable, Iterator

from lungkeras.system.errors import Refused

MOST_SIDE = 4096  # pixels of a scan that goes in


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,199}")
WORDS = {
    *("float32", "float16", "bfloat16", "uint8", "mixed_float16", "mixed_bfloat16"),
    *("valid", "same", "channels_last", "channels_first"),
    *("linear", "relu", "relu6", "sigmoid", "softmax", "tanh", "elu", "gelu", "silu", "swish", "mish", "leaky_relu"),
    *("hard_swish", "hard_silu", "hard_sigmoid"),
    *("fan_in", "fan_out", "fan_avg", "uniform", "normal", "truncated_normal", "untruncated_normal"),
}
OBJECT_KEYS = {"module", "class_name", "config", "registered_name", "shared_object_id"}
MODEL = ("keras.src.models.functional", "Functional")
OPERATIONS = {"keras.src.ops.numpy": {"Add", "Subtract", "Multiply", "Divide", "TrueDivide"}}
PARTS = {
    "keras": {"DTypePolicy"},
    "keras.initializers": {
        *("Zeros", "Ones", "Constant", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling"),
        *("GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal"),
    },
}
WITHOUT_WEIGHTS = {
    *("InputLayer", "Rescaling", "Concatenate", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"),
    *("ZeroPadding2D", "Cropping2D", "MaxPooling2D", "AveragePooling2D"),
    *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"),
    *("Dropout", "SpatialDropout2D", "Reshape", "Flatten", "Permute", "Identity"),
}
# Layer -> the numbers that it has at least, biases aside, from its config and the channels that go in: Keras fills them
# before it reads the file's.
WEIGHTS: dict[str, Callable[[dict, int], int]] = {
    "Dense": lambda config, channels: channels * config["units"],
    "Conv2D": lambda config, channels: (
        math.prod(config["kernel_size"]) * (channels // config["groups"]) * config["filters"]
    ),
    "DepthwiseConv2D": lambda config, channels: (
        math.prod(config["kernel_size"]) * channels * config["depth_multiplier"]
    ),
    "SeparableConv2D": lambda config, channels: (
        channels * config["depth_multiplier"] * (math.prod(config["kernel_size"]) + config["filters"])
    ),
    "BatchNormalization": lambda config, channels: 2 * channels,
    "Normalization": lambda config, channels: channels,
    "LayerNormalization": lambda config, channels: channels if config["center"] or config["scale"] else 0,
    "LayerScale": lambda config, channels: config["projection_dim"],
}
LAYERS = {
    "keras.layers": WITHOUT_WEIGHTS | set(WEIGHTS) - {"LayerScale"},
    "keras.src.applications.convnext": {"LayerScale", "StochasticDepth"},
    "keras.src.applications.inception_resnet_v2": {"CustomScaleLayer"},
}


def fault_of_layers(config: dict) -> str | None:
    """Why a file of this model, serialized, would be refused for one of its layers; None where all are known."""
    try:
        for layer in config["config"]["layers"]:
            _check_layer(layer)
    except Refused as reason:
        return str(reason)
    return None


def check_graph(config: dict, numbers: int) -> None:
    """A functional model of known layers, each fed by earlier ones and leading to the outputs, of at most `numbers`."""
    if (config["module"], config["class_name"]) != MODEL:
        raise Refused(f"it holds {_called(config)}, not a functional model")
    _expect_keys(config, OBJECT_KEYS | {"build_config", "compile_config"})
    graph = config["config"]
    _expect_keys(graph, {"name", "trainable", "layers", "input_layers", "output_layers"})
    _check_name(graph["name"])
    sources: dict[str, list[list[str]]] = {}  # of each layer, the layers that feed it, call by call
    needed = 0
    for layer in graph["layers"]:
        name = _check_layer(layer)
        if name in sources:
            raise Refused(f"two of its layers are called {name!r}")
        calls = [list(_fed_by(node, sources)) for node in layer["inbound_nodes"]]
        is_input = layer["class_name"] == "InputLayer"
        if is_input == bool(calls) or not all(calls):
            raise Refused(f"its layer {name!r} is connected to nothing")
        sources[name] = calls
        needed += _weights_of(layer)
    if needed > numbers:
        raise Refused(f"its layers need {needed:,} weights, and it holds {numbers:,}")
    waiting = list(_ends(graph["output_layers"], sources))
    _ = list(_ends(graph["input_layers"], sources))
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [source for call in sources[name] for source in call]
    if astray := set(sources) - reached:
        raise Refused(f"its layer {min(astray)!r} leads nowhere")


def _called(thing: dict) -> str:
    return f"{thing.get('module')}.{thing.get('class_name')}"[:80]


def _expect_keys(thing: dict, known: set[str]) -> None:
    if strange := set(thing) - known:
        raise Refused(f"its config has the key {min(strange)[:80]!r}")


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
        raise Refused(f"{str(name)[:80]!r} is not a valid name of a layer")
    return name


def _check_layer(layer: dict) -> str:
    """The name of a layer whose class and settings are known."""
    _expect_keys(layer, OBJECT_KEYS | {"build_config", "name", "inbound_nodes"})
    if layer["class_name"] not in (LAYERS | OPERATIONS).get(layer["module"], ()):
        raise Refused(f"it holds {_called(layer)}, which none of our models has")
    if layer["registered_name"] not in (None, layer["class_name"]):
        raise Refused(f"it holds {str(layer['registered_name'])[:80]}, which none of our models has")
    name = _check_name(layer["name"])
    if _check_name(layer["config"]["name"]) != name:
        raise Refused(f"its layer {name!r} has two names")
    if max(filter(None, layer["config"].get("batch_shape") or [0]), default=0) > MOST_SIDE:
        raise Refused(f"its scans have more than {MOST_SIDE:,} pixels per side")
    for key, value in layer["config"].items():
        if key != "name":
            _check_setting(value, key)
    _check_numbers(layer.get("build_config") or {})
    return name


def _check_setting(value: object, key: str) -> None:
    """A setting is a known word, a number, a list of such, or an object of known class."""
    if isinstance(value, dict):
        _expect_keys(value, OBJECT_KEYS)
        if value["class_name"] not in PARTS.get(value["module"], ()) or value.get("registered_name"):
            raise Refused(f"it holds {_called(value)}, which none of our models has")
        for inner, setting in value["config"].items():
            if not (inner == "name" and setting in WORDS):
                _check_setting(setting, inner)
    elif isinstance(value, list):
        for entry in value:
            _check_setting(entry, key)
    elif isinstance(value, str):
        if value not in WORDS:
            raise Refused(f"its setting {key[:80]!r} is {value[:80]!r}, which none of our models has")
    elif key == "padding" and isinstance(value, int) and not 0 <= value <= 256:
        raise Refused(f"it pads by {value}")


def _check_numbers(value: object) -> None:
    """Nothing but numbers, in lists and under the names of shapes."""
    if isinstance(value, dict):
        for entry in value.values():
            _check_numbers(entry)
    elif isinstance(value, list):
        for entry in value:
            _check_numbers(entry)
    elif isinstance(value, str):
        raise Refused(f"a shape of it holds {value[:80]!r}")


def _fed_by(node: dict, sources: dict[str, list]) -> Iterator[str]:
    """The layers whose outputs a call takes. What else it takes are plain numbers."""
    _expect_keys(node, {"args", "kwargs"})
    for key in node["kwargs"]:
        _check_name(key)
    waiting = [node["args"], *node["kwargs"].values()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            _expect_keys(value, {"class_name", "config"})
            if value["class_name"] != "__keras_tensor__":
                raise Refused(f"a layer of it is called with {str(value['class_name'])[:80]}")
            _expect_keys(value["config"], {"shape", "dtype", "keras_history", "name"})
            yield from _ends(value["config"]["keras_history"], sources)
        elif isinstance(value, str):
            raise Refused(f"a layer of it is called with {value[:80]!r}")


def _ends(history: object, sources: dict[str, list]) -> Iterator[str]:
    """The layers of [name, call, output] or of a list of such, each an earlier one."""
    if history and isinstance(history, list) and all(isinstance(entry, list) for entry in history):
        for entry in history:
            yield from _ends(entry, sources)
        return
    name, call, output = history
    if name not in sources or call not in range(max(1, len(sources[name]))) or output != 0:
        raise Refused(f"a layer of it takes what {str(name)[:80]!r} does not give before")
    yield name


def _weights_of(layer: dict) -> int:
    """How many numbers Keras fills at least when it builds a layer."""
    if layer["class_name"] not in WEIGHTS:
        return 0
    config, built = layer["config"], layer.get("build_config") or {}
    axis = config.get("axis", 1 if config.get("data_format") == "channels_first" else -1)
    try:
        channels = built["input_shape"][axis[0] if isinstance(axis, list) else axis]
        count = WEIGHTS[layer["class_name"]](config, channels)
    except (TypeError, KeyError, IndexError, ZeroDivisionError):
        count = -1
    if not isinstance(count, int) or count < 0:
        raise Refused(f"its layer {layer['name']!r} does not say how many weights it has")
    return count
