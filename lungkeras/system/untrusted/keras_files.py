"""Checks a model file before Keras opens it.

Keras' safe mode has been bypassed repeatedly: a config that names a function runs it, an unconnected operation runs at
once, an HDF5 file may point at other files on disk, and a few bytes may claim terabytes. So a file passes only if
everything in it is known: the members of the archive, the layers of the graph and their connections, every array of the
weights.
"""

import io
import math
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lungkeras.system.errors import Refused, RunError
from lungkeras.system.text import printable
from lungkeras.system.untrusted import json_files
from lungkeras.system.untrusted.archives import plain_zip, read_member

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
MOST_BYTES = 4 * 2**30
MOST_JSON_BYTES = 32 * 2**20
MOST_SIDE = 4096  # pixels of a scan that goes in
MOST_RATIO = 10  # of claimed size to actual size
LOWEST_KERAS = (3, 15, 1)  # older versions have known holes in loading

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


def check_model_file(path: Path | str) -> None:
    """Checks a .keras file without Keras. Raises RunError, in one sentence, if it holds anything unknown.

    Flat functional models of plain layers pass, as written by `save_model`, whose arrays are in the file.
    """
    path = Path(path)
    try:
        # Keras packs nothing, and reads a packed member to its end, whatever that claims.
        with plain_zip(path, methods=(zipfile.ZIP_STORED,)) as archive:
            _check_members(archive, path.stat().st_size)
            _plain_json(read_member(archive, "metadata.json", MOST_JSON_BYTES))
            config = _plain_json(read_member(archive, "config.json", MOST_JSON_BYTES))
            numbers = _check_hdf5(io.BytesIO(read_member(archive, "model.weights.h5", MOST_BYTES)))
        _check_graph(config, numbers)
    except Refused as reason:
        raise RunError(
            f"{path} is refused before Keras opens it: {printable(reason)}. Give a .keras file that lungkeras has "
            "written, or train the run again."
        ) from None
    except Exception as error:
        # A damaged archive or config raises any of a dozen exceptions, depending on the damage.
        said = printable(" ".join(str(error).split())[:100])
        reason = f"{type(error).__name__}: {said}".rstrip(". :")
        raise RunError(f"{path} could not be read as a Keras model ({reason}). Train the run again.") from error


def fault_of_layers(config: dict) -> str | None:
    """Why a file of this model, serialized, would be refused for one of its layers; None where all are known."""
    try:
        for layer in config["config"]["layers"]:
            _check_layer(layer)
    except Refused as reason:
        return str(reason)
    return None


def check_weights_file(path: Path | str) -> None:
    """Checks an .h5 file of weights. Raises RunError if it points elsewhere or claims more than its size."""
    try:
        with Path(path).open("rb") as file:
            _check_hdf5(file)
    except Refused as reason:
        raise RunError(
            f"{path} is refused before Keras opens it: {printable(reason)}. Download the weights again."
        ) from None
    except Exception as error:
        raise RunError(f"{path} could not be read as a file of weights. Download the weights again.") from error


def check_keras_version(version: str) -> None:
    """Raises RunError if this Keras is older than the first that is known to load files safely."""
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < LOWEST_KERAS:
        lowest = ".".join(map(str, LOWEST_KERAS))
        raise RunError(f"Keras {version} is too old to open model files safely: install {lowest} or newer.")


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    names = [member.filename for member in archive.infolist()]
    if sorted(names) != sorted(MEMBERS):
        strange = next((name for name in names if name not in MEMBERS or names.count(name) > 1), None)
        raise Refused(f"it holds {strange!r}" if strange else f"it lacks {min(MEMBERS - set(names))}")
    claimed = sum(member.file_size for member in archive.infolist())
    if claimed > min(MOST_BYTES, MOST_RATIO * size):
        raise Refused(f"its {size:,} bytes claim to be {claimed:,}")
    if any(archive.getinfo(name).file_size > MOST_JSON_BYTES for name in ("metadata.json", "config.json")):
        raise Refused("its config is larger than any model's")


def _plain_json(data: bytes) -> dict:
    """JSON whose objects name each key once. Raises ValueError, or RecursionError if it is nested too deep."""

    def once(pairs: list[tuple[str, object]]) -> dict:
        if len(dict(pairs)) < len(pairs):
            raise Refused("its config names a key twice")
        return dict(pairs)

    return json_files.loads(data, object_pairs_hook=once)


def _check_hdf5(file: io.IOBase) -> int:
    """Walks an HDF5 file by its own groups and arrays only. Returns how many numbers its arrays hold."""
    import h5py

    size = file.seek(0, io.SEEK_END)
    numbers = claimed = 0
    seen: set[int] = set()
    with h5py.File(file, "r") as opened:
        waiting = [("", opened)]
        while waiting:
            name, group = waiting.pop()
            _check_attributes(group, name)
            for key in group:
                inner = f"{name}/{key}"
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    raise Refused(f"{inner[:80]!r} of its weights is a link")
                member = group[key]
                address = h5py.h5o.get_info(member.id).addr
                if address in seen:
                    raise Refused(f"{inner[:80]!r} of its weights occurs twice")
                seen.add(address)
                if isinstance(member, h5py.Group):
                    waiting.append((inner, member))
                    continue
                if not isinstance(member, h5py.Dataset):
                    raise Refused(f"{inner[:80]!r} of its weights is not an array")
                _check_array(member, inner)
                numbers += member.size
                claimed += member.nbytes
                if claimed > MOST_RATIO * size:
                    raise Refused(f"the {size:,} bytes of its weights claim to be {claimed:,} or more")
    return numbers


def _check_array(array, name: str) -> None:
    _check_attributes(array, name)
    if array.is_virtual or array.external:
        raise Refused(f"{name[:80]!r} of its weights is in another file")
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16" and array.dtype.kind != "S":
        raise Refused(f"{name[:80]!r} of its weights is not an array of numbers")
    if array.id.get_create_plist().get_nfilters():
        raise Refused(f"{name[:80]!r} of its weights is compressed")
    if array.id.get_storage_size() < array.nbytes:
        raise Refused(f"{name[:80]!r} of its weights claims {array.nbytes:,} bytes and has fewer")


def _check_attributes(thing, name: str) -> None:
    for key in thing.attrs:
        attribute = thing.attrs.get_id(key)
        # Not get_storage_size, which raises for the empty list of weights that a layer without any has.
        if math.prod(attribute.shape) * attribute.dtype.itemsize > MOST_JSON_BYTES:
            raise Refused(f"{name[:80]!r} of its weights has an attribute larger than any model's")


def _check_graph(config: dict, numbers: int) -> None:
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
        raise Refused(f"its scans have more than {MOST_SIDE:,} pixels a side")
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
