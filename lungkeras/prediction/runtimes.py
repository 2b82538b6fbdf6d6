"""Exported files, opened: one function from scans to logits, whatever runs them.

A file of `lungkeras export` has a JSON file next to it, <file>.json, with its classes and task. No runtime is made for
hostile files, so each file is checked first (system.untrusted).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.system.errors import Refused, RunError
from lungkeras.system.files import glance
from lungkeras.system.text import printable
from lungkeras.system.untrusted import (
    exported_files,
    json_files,
    litert_files,
    onnx_files,
    openvino_files,
    saved_models,
)

if TYPE_CHECKING:
    import numpy as np

# What the process that opens a file runs.
SERVE = "from lungkeras.prediction import isolated, runtimes; isolated.serve(runtimes.open_exported)"
# The name that an export ends in; a SavedModel is a folder.
SUFFIXES = {"litert": ".tflite", "onnx": ".onnx", "openvino": ".xml", "saved_model": ""}
TITLES = {"litert": "LiteRT", "onnx": "ONNX", "openvino": "OpenVINO", "saved_model": "SavedModel"}
BATCH = 32
LARGE = 256  # pixels per side, beyond which a batch has fewer scans
MOST_BYTES_ABOUT = 1_000_000
MOST_CLASSES = 1000


def format_of(path: Path | str) -> str | None:
    """The format of an exported file, or of a folder with a SavedModel; None for anything else."""
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    return next((name for name, suffix in SUFFIXES.items() if suffix and path.suffix == suffix), None)


def about_file(path: Path) -> Path:
    """The path of the JSON file with classes, task and checks of an exported file."""
    return path.with_name(path.name + ".json")


def read_about(path: Path | str) -> dict:
    """The content of the JSON file next to an exported file: classes, task, image_size and more. Raises RunError."""
    file = about_file(Path(path))
    try:
        if file.stat().st_size > MOST_BYTES_ABOUT:
            raise ValueError("larger than what an export writes")
        about = json_files.read(file)
        classes, size = tuple(map(str, about["classes"])), int(about["image_size"])
        if about["task"] not in ("multiclass", "multilabel") or not 0 < size <= 4096:
            raise ValueError("another task or size")
        if not 0 < len(set(classes)) == len(classes) <= MOST_CLASSES or any(
            printable(name) != name for name in classes
        ):
            raise ValueError("no names of classes")
        from lungkeras.scores.temperature import read_correction  # --help needs no NumPy

        read_correction(about, len(classes))
        return about | {"classes": classes, "image_size": size}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: the names of its classes are read from {file.name} beside it, which is missing or broken; "
            f"copy both files, or export the run again."
        ) from error


def open_exported(
    path: Path | str, *, threads: int | None = None, here: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from scans, uint8 of shape (N, size, size), to logits, float32 of shape (N, classes).

    It runs in a separate process with a memory limit (`isolated`); with `here`, in this one, for a file that was just
    made here. `threads`: the threads per scan, None for the runtime's default; a SavedModel uses TensorFlow's.
    Raises RunError if the file is missing or broken, holds anything that our exports do not, or has no runtime
    installed.
    """
    import numpy as np

    path = Path(path)
    if (kind := format_of(path)) is None or not path.exists():
        raise RunError(f"{path} is not an exported model: expected a .tflite, .onnx or .xml file or a SavedModel; "
                       f"found {glance(path)}.")  # fmt: skip
    if not here:
        from lungkeras.prediction.isolated import Isolated

        return Isolated(path, threads, SERVE)
    run = _opened(path, kind, threads)

    def logits(images: np.ndarray) -> np.ndarray:
        batch = max(1, BATCH * LARGE**2 // max(LARGE, images.shape[1]) ** 2)
        batches = [images[start : start + batch, ..., None] for start in range(0, len(images), batch)]
        try:
            return np.concatenate([run(np.ascontiguousarray(batch)) for batch in batches]).astype(np.float32)
        except Exception as error:
            raise RunError(
                f"{path} has no output for scans of {images.shape[1:]} ({_first_line(error)}). Export the run again."
            ) from error

    return logits


def _opened(path: Path, kind: str, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """A function from scans, uint8 (N, size, size, 1), to logits. Raises RunError."""
    try:
        return RUNTIMES[kind](path, threads)
    except ImportError as error:
        raise RunError(
            f"{path}: {TITLES[kind]} needs the package {error.name}, which is not installed; "
            f"pip install 'lungkeras[export]'."
        ) from error
    except Refused as reason:
        raise RunError(
            f"{path} is refused before {TITLES[kind]} opens it: {printable(reason)}. Give a file that lungkeras export "
            "has written."
        ) from None
    except Exception as error:
        # Each runtime has its own errors for a damaged file.
        raise RunError(
            f"{path} could not be opened by {TITLES[kind]} ({_first_line(error)}). Export the run again."
        ) from error


def _first_line(error: Exception) -> str:
    return printable(str(error).strip().split("\n")[0])


def _litert(path: Path, threads: int | None):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=litert_files.read_litert(path), num_threads=threads)
    interpreter.allocate_tensors()
    scan, logits = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(image):
        interpreter.set_tensor(scan, image)
        interpreter.invoke()
        return interpreter.get_tensor(logits)

    return one_by_one(run)


def _onnx(path: Path, threads: int | None):
    session = onnx_session(onnx_files.read_onnx(path), threads)
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def onnx_session(model: bytes, threads: int | None = None):
    """ONNX Runtime's session of a model that was checked, or that we have made ourselves."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.load_model_format", "ONNX")  # else it also accepts its own format
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def _openvino(path: Path, threads: int | None):
    core = import_openvino().Core()
    model = core.read_model(*openvino_files.read_openvino(path))
    # With one scan at a time the shapes are known, which halves the time per scan.
    model.reshape([1, *(side.get_length() for side in list(model.inputs[0].get_partial_shape())[1:])])
    for given in (output for operation in model.get_ops() for output in operation.outputs()):
        exported_files.numbers(given.get_partial_shape().get_max_shape(), "of OpenVINO")
    # Without the hint it would compute in bfloat16 where the processor can.
    settings = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    compiled = core.compile_model(model, "CPU", settings)
    return one_by_one(lambda image: compiled(image)[0].copy())


def one_by_one(run: Callable) -> Callable:
    """A function of a batch from one of a batch of one."""
    import numpy as np

    return lambda images: np.concatenate([run(image[None]) for image in images])


def import_openvino():
    """The package, without the one that would send usage statistics over the network."""
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def _saved_model(path: Path, threads: int | None):
    import keras
    import numpy as np

    saved_models.check_saved_model(path)
    layer = keras.layers.TFSMLayer(str(path), call_endpoint="serve")
    return lambda images: np.asarray(layer(images))


RUNTIMES = {"litert": _litert, "onnx": _onnx, "openvino": _openvino, "saved_model": _saved_model}
