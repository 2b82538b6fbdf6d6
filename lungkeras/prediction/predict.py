"""New images -> a table of probabilities, and overlays of what the model looks at.

An unreadable file is listed with its reason; the others get predictions.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.scans.opencv import cv2
from lungkeras.prediction import inference, runtimes
from lungkeras.preparation.reading import fill
from lungkeras.scores import metrics
from lungkeras.scores.temperature import Correction, read_correction
from lungkeras.system import files as written
from lungkeras.system.errors import RunError
from lungkeras.system.text import printable
from lungkeras.system.untrusted import json_files

LONGEST_STEM = 200  # bytes of the name of a heat map's file
CORRECTION = ("temperature", "prior_shift", "temperatures")
FILES_AT_ONCE = 1024  # memory does not grow with the folder


@dataclass(frozen=True)
class Predictor:
    """A model with all that prediction needs: the names of its classes, its task, and the size of its images.

    `model` is a keras.Model, or an inference.Network, or, if `exported`, a function from scans to logits. `computed_by`
    names what runs it. `correction` turns the logits into those of calibrated probabilities; None leaves them
    unchanged.
    """

    name: str
    model: object
    classes: tuple[str, ...]
    task: str
    size: int
    exported: bool = False
    correction: Correction | None = None
    computed_by: str = "Keras"


def load_predictor(path: Path | str, *, calibrated: bool = True, with_keras: bool = True) -> Predictor:
    """Opens a run's folder, a .keras file, or what `lungkeras export` wrote.

    With `calibrated=False`, probabilities are the model's own. With `with_keras=False`, ONNX Runtime computes them,
    which saves seconds, if it agrees with Keras (lungkeras.prediction.inference); otherwise Keras does.

    The names of the classes and the task are those of metrics.json, in the folder or next to the file. Without it, the
    classes are class_1, class_2 and so on, and exclusive (multiclass). The correction is that of the run
    (lungkeras.evaluation.calibration); a model without its run has none. Raises RunError if there is no model, if it
    does not take square grey scans (uint8, one channel), or if metrics.json has another number of classes.

    >>> predictor = lungkeras.load_predictor("reports/demo/runs/pneumonia-resnet34-random")
    >>> predictor.classes, predictor.size
    (('bacterial_pneumonia', 'viral_pneumonia', 'normal'), 32)
    """
    path = Path(path)
    if runtimes.format_of(path) and path.exists():
        return _exported(path, calibrated)
    file = path / "best.keras" if path.is_dir() else path
    if not file.is_file():
        raise RunError(
            f"No model at {path}: expected a run's folder with best.keras, a .keras file, or an exported model; "
            f"found {written.glance(path)}."
        )
    about = _beside(file)
    model = None if with_keras else inference.open_network(file, about.get("task", "multiclass"))
    computed_by = "ONNX Runtime"
    if model is None:
        from lungkeras import models
        from lungkeras.system.backends import use_backend

        computed_by = f"Keras on {use_backend()}"
        model = models.load_model(file)
    count, size = _outputs_and_size(model, file)
    classes = tuple(about.get("classes") or (f"class_{place + 1}" for place in range(count)))
    if len(classes) != count:
        raise RunError(
            f"{file} has {count} classes, but metrics.json next to it names {len(classes)}: "
            f"{', '.join(classes)}. Give the folder of the run that the model comes from."
        )
    name = file.resolve().parent.name if about else file.stem
    correction = _correction(file.parent, about, count) if calibrated else None
    task = about.get("task", "multiclass")
    return Predictor(name, model, classes, task, size, correction=correction, computed_by=computed_by)


def _exported(path: Path, calibrated: bool) -> Predictor:
    """Opens what `lungkeras export` wrote. Raises RunError."""
    about, model = runtimes.read_about(path), runtimes.open_exported(path)
    classes, size = about["classes"], about["image_size"]
    answer = model(np.zeros((1, size, size), np.uint8))
    if answer.shape != (1, len(classes)):
        raise RunError(
            f"{path} returns {answer.shape} for a scan, {runtimes.about_file(path).name} beside it names "
            f"{len(classes)} classes. Copy both files of one export."
        )
    correction = read_correction(about, len(classes)) if calibrated else None
    by = runtimes.TITLES[runtimes.format_of(path)]
    known = {"exported": True, "correction": correction, "computed_by": by}
    return Predictor(path.stem, model, classes, about["task"], size, **known)


def _outputs_and_size(model, file: Path) -> tuple[int, int]:
    takes, gives = model.input_shape, model.output_shape
    square = (
        isinstance(takes, tuple) and len(takes) == 4 and takes[1] is not None and takes[1:] == (takes[1], takes[1], 1)
    )
    if not square or len(gives) != 2:
        raise RunError(
            f"{file} is not a model of lungkeras: expected scans (size, size, 1) in and logits (classes) out; "
            f"it takes {takes} and gives {gives}."
        )
    return gives[1], takes[1]


def _beside(file: Path) -> dict:
    path = file.parent / "metrics.json"
    if not path.is_file():
        return {}
    try:
        about = json_files.read(path)
        classes, task = about.get("classes", []), about.get("task", "multiclass")
        if not all(isinstance(name, str) and printable(name) == name for name in classes):
            raise ValueError("classes: expected a list of names")
        if task not in ("multiclass", "multilabel"):
            raise ValueError("task: expected multiclass or multilabel")
        read_correction(about, len(classes))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{path} can't be read ({error}). Train the run again, or remove it.") from error
    return {key: about[key] for key in ("classes", "task", *CORRECTION) if key in about}


def _correction(folder: Path, about: dict, classes: int) -> Correction:
    """The correction stored with the run; for an older run it is fitted to its predictions now."""
    if "temperatures" not in about and (folder / "predictions.parquet").is_file():
        from lungkeras.evaluation.calibration import correction_of
        from lungkeras.study.runs import read_run

        return correction_of(read_run(folder))
    return read_correction(about, classes)


def predict_images(
    predictor: Predictor, files: Sequence[Path | str], *, workers: int | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of a model for files, prepared as its training data was.

    Returns (answers, failed), with control characters in file names shown as escapes. answers: file,
    probability_<class> (float32, in [0, 1]), predicted (the most likely class; in a multilabel task all classes whose
    logit is at least 0, joined by "|", possibly none). failed: file, reason. Probabilities are those of the corrected
    logits; `predicted` uses the model's own, so a finding that the loss weighted may be called at a probability below
    one half.

    >>> predictor = lungkeras.load_predictor("reports/demo/runs/pneumonia-resnet34-random")
    >>> folder = "sources/demo/pneumonia/chest_xray/test/NORMAL"
    >>> answers, failed = lungkeras.predict_images(predictor, [f"{folder}/NORMAL2-IM-0041-0001-0001.jpeg"])
    >>> len(answers), len(failed)
    (1, 0)
    >>> float(answers.filter(like="probability_").sum(axis=1).round(3).iloc[0])
    1.0
    """
    asked, failed, answers = [], [], [np.zeros((0, len(predictor.classes)), np.float32)]
    for readable, images, faults in _prepared(predictor, files, workers):
        asked += map(printable, readable)
        failed += [(printable(file), reason) for file, reason in faults]
        if readable:
            answers.append(_ask(predictor, images))
    logits = np.concatenate(answers)
    corrected = predictor.correction.logits(logits) if predictor.correction else logits
    table = pd.DataFrame(
        metrics.probabilities(corrected, predictor.task), columns=[f"probability_{name}" for name in predictor.classes]
    )
    table.insert(0, "file", asked)
    table["predicted"] = [
        "|".join(name for name, present in zip(predictor.classes, row, strict=True) if present)
        for row in metrics.decide(metrics.probabilities(logits, predictor.task), predictor.task)
    ]
    return table, pd.DataFrame(failed, columns=["file", "reason"])


def write_heatmaps(
    predictor: Predictor, files: Iterable[Path | str], folder: Path | str, *, workers: int | None = None
) -> dict[str, Path]:
    """Writes for each readable file a PNG of the prepared scan under the Grad-CAM map of its most likely class.

    A PNG is named after its file, with a number if two files share a name. Returns {file: its PNG}.
    Raises RunError for an exported model, which has no gradients.
    """
    from lungkeras import explanation

    if predictor.exported:
        raise RunError(
            f"{predictor.name} is an exported model, which has no heat maps: give the run's folder for them."
        )

    folder, drawn, taken = Path(folder), {}, set()
    for readable, images, _ in _prepared(predictor, list(files), workers):
        if not readable:
            continue
        likeliest = _ask(predictor, images).argmax(axis=1)
        maps = explanation.grad_cam(predictor.model, images, likeliest)
        for file, image, heatmap in zip(readable, images, maps, strict=True):
            drawn[file] = folder / _unique(Path(file).stem, taken)
            coloured = cv2.cvtColor(explanation.overlay(image, heatmap), cv2.COLOR_RGB2BGR)
            with written.atomic(drawn[file]) as temporary:
                temporary.write_bytes(cv2.imencode(".png", coloured)[1].tobytes())
    return drawn


def _prepared(
    predictor: Predictor, files: Sequence[Path | str], workers: int | None
) -> Iterator[tuple[list[str], np.ndarray, list[tuple[str, str]]]]:
    """(files that could be read, their images uint8 (N, size, size), faults (file, reason)), some files at a time."""
    for start in range(0, len(files), FILES_AT_ONCE):
        paths = [Path(file) for file in files[start : start + FILES_AT_ONCE]]
        images = np.zeros((len(paths), predictor.size, predictor.size), np.uint8)
        reasons = fill(images, paths, workers)
        readable = [place for place, reason in enumerate(reasons) if reason is None]
        reasoned = zip(paths, reasons, strict=True)
        faults = [(str(path), reason.removeprefix(f"{path}: ")) for path, reason in reasoned if reason is not None]
        yield [str(paths[place]) for place in readable], images[readable], faults


def _ask(predictor: Predictor, images: np.ndarray) -> np.ndarray:
    """The model's own logits, float32 (scans, classes)."""
    if not hasattr(predictor.model, "layers"):  # an exported file, or an inference.Network
        return predictor.model(images)
    from lungkeras.training.outputs import outputs

    return outputs(predictor.model, images)


def _unique(stem: str, taken: set[str]) -> str:
    """A file name that differs from all earlier ones, ignoring case, as some file systems do."""
    stem = printable(stem).encode()[:LONGEST_STEM].decode(errors="ignore")
    names = (f"{stem}{suffix}.png" for suffix in itertools.chain([""], (f"-{number}" for number in itertools.count(2))))
    name = next(name for name in names if name.casefold() not in taken)
    taken.add(name.casefold())
    return name
