"""A run -> a file that a small device runs: LiteRT, ONNX, OpenVINO or a SavedModel, checked against Keras.

Prepared scans go in, uint8 grey levels of shape (N, size, size, 1), and logits come out: normalisation is inside. The
export's outputs on the test split are compared with Keras, and a file that deviates is discarded. Next to it,
<file>.json holds the classes and the result of the check; the study's tables/devices.csv collects these.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lungkeras.evaluation import calibration
from lungkeras.prediction import runtimes
from lungkeras.prediction.converters import convert
from lungkeras.prediction.devices import write_devices
from lungkeras.preparation.folder import Prepared, load_prepared
from lungkeras.scores import metrics
from lungkeras.study.runs import Run, read_run
from lungkeras.system.errors import ParamsError, RunError
from lungkeras.system.files import on_its_disk, require_room, temporary_folder, write_json
from lungkeras.system.places import from_project
from lungkeras.system.provenance import file_digest
from lungkeras.training.outputs import outputs

# A float file computes the same sums in another order.
FLOAT_DIFFERENCE = 1e-3
# An int8 file has 256 levels per tensor: its probabilities may change, its clear decisions may not.
INT8_MEAN_DIFFERENCE = 0.05
INT8_AGREEMENT = 0.95
CLEAR = 0.1

CALIBRATION_SCANS = 128
TIMED_SCANS = 50


def export_run(folder: Path | str, format: str, *, int8: bool = False, to: Path | str | None = None) -> dict:
    """Exports the best model of a run, and returns what <file>.json holds.

    Args:
        folder: of a finished run; its prepared dataset is found by the run's params.
        format: litert, onnx, openvino or saved_model.
        int8: weights and activations of 8 bits, their ranges found on scans of the training split.
        to: the file to write (for saved_model a folder); by default <run>/export/model[-int8]<suffix>.

    A float file passes if no probability of the test split differs from Keras' by more than 0.001, so decisions differ
    only at ties; an int8 file if 95 of 100 decisions that Keras makes by more than 0.1 are the same, and probabilities
    differ by at most 0.05 on average. Raises ParamsError for an unknown format, RunError if the run or its prepared
    dataset is missing, a package is not installed, the conversion fails, or the file does not pass and is removed.
    """
    import keras

    from lungkeras import models

    folder = Path(folder)
    target = _target(folder, format, int8, to)
    if keras.backend.backend() != "tensorflow":
        raise RunError(
            f"Exports are made by TensorFlow; Keras runs on {keras.backend.backend()}. "
            "Set KERAS_BACKEND=tensorflow: the model file is the same for all backends."
        )
    run = read_run(folder)
    model = models.load_model(folder / "best.keras")
    require_room(target.parent, 3 * (folder / "best.keras").stat().st_size, "exporting")
    prepared = _prepared(run, model.input_shape[1])
    scans = prepared.images["test"]
    expected = metrics.probabilities(outputs(model, scans), run.task)  # first: ONNX needs a model that was called
    with on_its_disk(target), temporary_folder(target.parent) as temporary:
        draft = temporary / target.name
        convert(model, draft, format, _calibration(prepared) if int8 else None)
        received = metrics.probabilities(runtimes.open_exported(draft, here=True)(scans), run.task)
        checked = compare(expected, received, run.task)
        if fault := _fault(checked, int8):
            raise RunError(f"{target} is not kept: {fault}, on {len(scans)} test scans of {run.name}.")
        about = {
            **_description(run, prepared),
            "format": format,
            "int8": int8,
            "file": target.name,
            "model_sha256": file_digest(folder / "best.keras"),
            **checked,
            "test_scans": len(scans),
            "calibration_scans": len(_calibration(prepared)) if int8 else 0,
            **_measured(draft, format, folder / "best.keras", model, scans),
        }
        write_json(runtimes.about_file(draft), about)
        _publish(draft, target)
    write_json(runtimes.about_file(_target(folder, format, int8, None)), about)
    if folder.resolve().parent.name == "runs":
        write_devices(folder.resolve().parents[1])
    return about | {"path": str(target)}


def _description(run: Run, prepared: Prepared) -> dict:
    """What prediction needs to know of a model, beside its file."""
    return {
        "run": run.name,
        "classes": list(run.classes),
        "task": run.task,
        "image_size": prepared.size,
        **calibration.correction_of(run).as_dict(),
    }


def _measured(exported: Path, format: str, file: Path, model, scans: np.ndarray) -> dict:
    """Size in megabytes and time per scan in milliseconds, of an export and of the Keras model, and the machine."""
    from lungkeras.system.machine import environment

    machine = environment()
    return {
        "megabytes": _megabytes(exported),
        "milliseconds": _milliseconds(runtimes.open_exported(exported, threads=1, here=True), scans),
        "threads": None if format == "saved_model" else 1,
        "keras_megabytes": _megabytes(file),
        "keras_milliseconds": _milliseconds(lambda scan: model.predict_on_batch(scan[..., None]), scans),
        "processor": machine["processor"],
        "versions": machine["versions"],
    }


def _target(folder: Path, format: str, int8: bool, to: Path | str | None) -> Path:
    if format not in runtimes.SUFFIXES:
        raise ParamsError(f"format: expected one of {', '.join(runtimes.SUFFIXES)}; received {format!r}.")
    if format == "saved_model" and int8:
        raise ParamsError("int8: a SavedModel holds floats; export litert, onnx or openvino with int8.")
    suffix = runtimes.SUFFIXES[format]
    name = "saved_model" if format == "saved_model" else f"model{'-int8' if int8 else ''}{suffix}"
    target = Path(to) if to else folder / "export" / name
    if target.suffix != suffix and suffix:
        raise ParamsError(f"to: a file of {runtimes.TITLES[format]} ends in {suffix}; received {target}.")
    if target.is_dir() and any(target.iterdir()) and runtimes.format_of(target) != "saved_model":
        raise ParamsError(f"to: {target} is a folder with other files; name a new one.")
    return target


def _prepared(run: Run, size: int) -> Prepared:
    """The prepared dataset that a run was trained on. Raises RunError if it is missing, or of another size."""
    if "prepared" not in run.params:
        raise RunError(f"{run.name}: its params.yaml does not say where its prepared dataset is (prepared: FOLDER).")
    folder = from_project(run.params["prepared"]) / run.dataset
    prepared = load_prepared(folder)
    if prepared.size != size or prepared.classes != run.classes:
        raise RunError(
            f"{folder} holds {prepared.size} pixels and {', '.join(prepared.classes)}; {run.name} learned from "
            f"{size} and {', '.join(run.classes)}. Prepare the dataset as the run had it."
        )
    return prepared


def _calibration(prepared: Prepared) -> np.ndarray:
    """Scans of the training split, evenly spread over it: uint8 (N, size, size, 1)."""
    images = prepared.images["train"]
    chosen = np.linspace(0, len(images) - 1, min(CALIBRATION_SCANS, len(images))).round().astype(int)
    return np.asarray(images[chosen])[..., None]


def compare(keras: np.ndarray, exported: np.ndarray, task: str) -> dict:
    """How much the probabilities (N, classes) of an export differ from Keras'.

    Returns labels_agree (share of equal decisions, one per scan in a multiclass task and one per label in a multilabel
    one), clear_labels_agree (among those that Keras makes by more than 0.1 of probability), largest_difference and
    mean_difference of probabilities.
    """
    theirs, ours = (metrics.decide(values, task) for values in (exported, keras))
    if task == "multiclass":
        ordered = np.sort(keras, axis=1)
        same, margin = (theirs == ours).all(axis=1), ordered[:, -1] - ordered[:, -2]
    else:
        same, margin = (theirs == ours).ravel(), 2 * np.abs(keras - 0.5).ravel()
    difference = np.abs(exported - keras)
    clear = same[margin > CLEAR]
    return {
        "labels_agree": float(same.mean()),
        "clear_labels_agree": float(clear.mean()) if len(clear) else 1.0,
        "largest_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
    }


def _fault(checked: dict, int8: bool) -> str | None:
    """Why an export is refused; None if it passes. NaN does not pass."""
    if not int8:
        if checked["largest_difference"] <= FLOAT_DIFFERENCE:
            return None
        return f"its probabilities differ from Keras' by up to {checked['largest_difference']:.3g}, more than 0.001"
    if not checked["clear_labels_agree"] >= INT8_AGREEMENT:
        return f"only {checked['clear_labels_agree']:.0%} of Keras' clear decisions are the same, less than 95%"
    if not checked["mean_difference"] <= INT8_MEAN_DIFFERENCE:
        return f"its probabilities differ from Keras' by {checked['mean_difference']:.3f} in the mean, more than 0.05"
    return None


def _milliseconds(ask: Callable, scans: np.ndarray) -> float:
    """The median time of one scan, alone, after some that are not counted."""
    times = []
    for place in range(TIMED_SCANS + 5):
        scan = np.asarray(scans[place % len(scans)])[None]
        started = time.perf_counter()
        ask(scan)
        times.append(time.perf_counter() - started)
    return 1e3 * float(np.median(times[5:]))


def _parts(file: Path) -> list[Path]:
    """The files of an export, the main file last; OpenVINO keeps its weights in a second one."""
    weights = file.with_suffix(".bin")
    return [weights, file] if file.suffix == ".xml" else [file]


def _megabytes(file: Path) -> float:
    files = [inner for part in _parts(file) for inner in ([*part.rglob("*")] if part.is_dir() else [part])]
    return sum(inner.stat().st_size for inner in files if inner.is_file()) / 1e6


def _publish(draft: Path, target: Path) -> None:
    """Moves an export to its final name: the old main file is removed first, and the new one moved last."""
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    for part, final in zip(
        [runtimes.about_file(draft), *_parts(draft)], [runtimes.about_file(target), *_parts(target)], strict=True
    ):
        part.replace(final)
