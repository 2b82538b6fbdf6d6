"""A Keras model -> a file of another runtime, whole or in 8-bit integers."""

import errno
import gc
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lungkeras.prediction import runtimes
from lungkeras.system.errors import RunError
from lungkeras.system.files import NO_ROOM


def convert(model, path: Path, format: str, calibration: np.ndarray | None) -> None:
    """Writes the model to `path`; int8 if there are calibration scans. Raises RunError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of NumPy, about the converters
            CONVERTERS[format](model, path, calibration)
    except ImportError as error:
        raise RunError(
            f"{runtimes.TITLES[format]} needs the package {error.name}, which is not installed; "
            "pip install 'lungkeras[export]'."
        ) from error
    except Exception as error:
        # Each converter has its own errors, also of a full disk.
        if getattr(error, "errno", None) in NO_ROOM or os.strerror(errno.ENOSPC).lower() in str(error).lower():
            raise OSError(getattr(error, "errno", None) or errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        reason = str(error).strip().split("\n")[0]
        raise RunError(
            f"{model.name} could not be converted to {runtimes.TITLES[format]} ({type(error).__name__}: {reason})."
        ) from error


def _to_litert(model, path: Path, calibration: np.ndarray | None) -> None:
    options = {}
    if calibration is not None:
        import tensorflow as tf

        options = {
            "optimizations": [tf.lite.Optimize.DEFAULT],
            "representative_dataset": lambda: ([scan[None]] for scan in calibration),
        }
    model.export(str(path), format="litert", verbose=False, **options)


def _to_onnx(model, path: Path, calibration: np.ndarray | None) -> None:
    import onnx  # noqa: F401  named here where it is missing, as are the others
    from tf2onnx.handler import tf_op

    # It prints pages about skipped optimisations.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    tf_op("Erfc")(_Erfc)
    model = _with_depthwise_layers(model)
    with _garbage_collected_soon():
        model.export(str(path), format="onnx", verbose=False)
    if calibration is not None:
        _quantize_onnx(path, calibration)


@contextmanager
def _garbage_collected_soon() -> Iterator[None]:
    """Within the block the garbage collector runs often, on new objects only.

    tf2onnx copies its graph with all weights in each of dozens of passes; uncollected, they took twice the memory.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(thresholds[0], 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _with_depthwise_layers(model):
    """A copy in which a convolution with one group per channel (ConvNeXt) is a DepthwiseConv2D, which tf2onnx knows.

    TensorFlow computes the former in a function that XLA compiles, and ONNX has no such call.
    """
    import keras

    def copy(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.Conv2D) and 1 < layer.groups == layer.filters == layer.input.shape[-1]:
            shared = ("name", "dtype", "kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias")
            return keras.layers.DepthwiseConv2D(**{key: config[key] for key in shared})
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    for source, target in zip(model.weights, copied.weights, strict=True):
        values = keras.ops.convert_to_numpy(source)
        target.assign(values if values.shape == target.shape else values.swapaxes(-1, -2))
    copied(keras.ops.zeros((1, *model.input_shape[1:]), "uint8"))  # Keras' export wants a model that was called
    return copied


class _Erfc:
    """1 - erf(x): TensorFlow's GELU is made of erfc, which tf2onnx does not know (its issue 2347)."""

    @classmethod
    def version_9(cls, graph, node, **_):
        from tf2onnx import utils

        node.type, erf = "Erf", node.output[0]
        dtype = utils.map_onnx_to_numpy_type(graph.get_dtype(erf))
        one = graph.make_const(utils.make_name("one"), np.array(1, dtype)).output[0]
        graph.insert_new_node_on_output("Sub", erf, inputs=[one, erf], name=utils.make_name("erfc"))


def _quantize_onnx(path: Path, calibration: np.ndarray) -> None:
    """Turns an ONNX file into one of 8-bit integers, in place, with one scale per channel for weights."""
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_inputs()[0].name
    quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
    # Signed activations are ten times slower on processors without VNNI.
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(path), str(path), _CalibrationReader(name, calibration), per_channel=True, **kinds)


class _CalibrationReader:
    """Hands out scans one by one, as onnxruntime's quantizer requests them."""

    def __init__(self, name: str, scans: np.ndarray):
        self.inputs = ({name: scan[None]} for scan in scans)

    def get_next(self):
        return next(self.inputs, None)


def _to_openvino(model, path: Path, calibration: np.ndarray | None) -> None:
    openvino = runtimes.import_openvino()
    if calibration is None:
        model.export(str(path), format="openvino", verbose=False)
        return
    # OpenVINO computes in integers what an ONNX file marks as such.
    onnx = path.with_suffix(".onnx")
    _to_onnx(model, onnx, calibration)
    openvino.save_model(openvino.convert_model(str(onnx)), str(path), compress_to_fp16=False)


def _to_saved_model(model, path: Path, calibration: None) -> None:
    model.export(str(path), format="tf_saved_model", verbose=False)


CONVERTERS = {"litert": _to_litert, "onnx": _to_onnx, "openvino": _to_openvino, "saved_model": _to_saved_model}
