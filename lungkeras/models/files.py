"""Model files: a .keras file that Keras opens without lungkeras, and an untrusted one read within bounds."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from lungkeras.models import layers
from lungkeras.system import files
from lungkeras.system.errors import RunError
from lungkeras.system.untrusted.keras_files import check_keras_version, check_model_file

MOST_ACTIVATIONS = 2**28  # numbers that one layer outputs for one scan

check_keras_version(keras.__version__)


def save_model(model: keras.Model, path: Path | str) -> None:
    """Writes a .keras file, whole or not at all, that keras.models.load_model opens without lungkeras.

    It holds neither loss nor optimizer, which might be ours.

    >>> model = lungkeras.build_model("mobilenet_v3_large", 3, "multiclass", image_size=32, seed=0)
    >>> lungkeras.save_model(model, "model.keras")
    >>> lungkeras.load_model("model.keras").name
    'mobilenet_v3_large'
    """
    bare = keras.Model(model.input, model.output, name=model.name)
    with files.atomic(path) as temporary, layers.plain(bare):
        bare.save(temporary)


def load_model(path: Path | str) -> keras.Model:
    """Reads a .keras file and restores our faster layers; not compiled.

    The file may be untrusted: anything but a model of plain layers is refused before Keras opens it (see
    system.untrusted), Keras opens it in its safe mode, and changes to Keras' settings are undone. Raises RunError if
    the file is missing, refused, or not a Keras model.

    >>> model = lungkeras.load_model("reports/demo/runs/pneumonia-resnet34-random/best.keras")
    >>> model.output_shape
    (None, 3)
    """
    path = Path(path)
    if not path.is_file():
        raise RunError(f"there is no model {path}; its folder holds {files.glance(path.parent)}.")
    check_model_file(path)
    with _settings_kept(path):
        try:
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            # An inconsistent file raises any of a dozen exceptions.
            reason = str(error).strip().split("\n")[0]
            raise RunError(f"{path} could not be read as a Keras model ({reason}). Train the run again.") from error
    sizes = (math.prod(side or 1 for side in output.shape) for layer in model.layers for output in _outputs(layer))
    if max(sizes) > MOST_ACTIVATIONS:
        raise RunError(f"{path} is refused: one of its layers outputs more than {MOST_ACTIVATIONS:,} numbers per scan.")
    return layers.fast(model)


def _outputs(layer: keras.Layer) -> list:
    return layer.output if isinstance(layer.output, list) else [layer.output]


@contextmanager
def _settings_kept(path: Path) -> Iterator[None]:
    """Raises RunError if the block changes the precision of later models, after restoring it."""
    policy, real, layout = keras.config.dtype_policy(), keras.config.floatx(), keras.config.image_data_format()
    yield
    if (keras.config.dtype_policy(), keras.config.floatx(), keras.config.image_data_format()) != (policy, real, layout):
        keras.config.set_dtype_policy(policy)
        keras.config.set_floatx(real)
        keras.config.set_image_data_format(layout)
        raise RunError(f"{path} is refused: it changes the settings of Keras.")
