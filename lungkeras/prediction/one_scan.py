"""A model's answer for one scan: probabilities, a heat map, and how often such answers were correct."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lungkeras.datasets.scans.workers import decode_alone
from lungkeras.evaluation import calibration
from lungkeras.prediction.predict import Predictor, predict_images
from lungkeras.preparation.scan import preparation_steps
from lungkeras.scores import calibration_error
from lungkeras.scores.share_intervals import share_interval
from lungkeras.scores.temperature import no_correction
from lungkeras.study.runs import Run, patients_of, split_of
from lungkeras.system.errors import ScanError
from lungkeras.system.text import printable

SIMILAR = 0.05  # answers whose confidence differs by no more are compared


@dataclass(frozen=True)
class SimilarAnswers:
    """The test answers of confidences from `least` to `most`: the fraction that is correct, and its interval."""

    least: float
    most: float
    scans: int
    fraction_correct: float
    low: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """A model's answer for one scan; a notebook shows it as a picture with its numbers.

    `probabilities` are calibrated, `given` those of the model itself, both float32 (classes,). `scan` is prepared,
    uint8 (size, size); `heat_map`, float32 (size, size) in [0, 1], is the Grad-CAM of `explained`, the likeliest class,
    and None for an exported model. `similar` is None if no run was given, or no answer of it has a similar confidence.
    """

    file: str
    model: str
    task: str
    classes: tuple[str, ...]
    predicted: tuple[str, ...]
    probabilities: np.ndarray
    given: np.ndarray
    explained: str
    scan: np.ndarray
    heat_map: np.ndarray | None = None
    similar: SimilarAnswers | None = None


def predict_scan(predictor: Predictor, file: Path | str, run: Run | None = None) -> Prediction:
    """Asks a model about one scan; with its `run`, also how often its answers of similar confidence were correct.

    Raises ScanError, naming the file, where it can't be read.

    >>> predictor = lungkeras.load_predictor("reports/demo/runs/pneumonia-resnet34-random")
    >>> folder = "sources/demo/pneumonia/chest_xray/test/NORMAL"
    >>> answer = lungkeras.predict_scan(predictor, f"{folder}/NORMAL2-IM-0041-0001-0001.jpeg")
    >>> answer.probabilities.shape, answer.heat_map.shape
    ((3,), (32, 32))
    """
    answers, failed = predict_images(replace(predictor, correction=None), [file], workers=1)
    if len(failed):
        raise ScanError(f"{printable(file)}: {failed['reason'][0]}")
    given = answers[[f"probability_{name}" for name in predictor.classes]].to_numpy(np.float32)
    correction = predictor.correction or no_correction(len(predictor.classes))
    probabilities = correction.probabilities(given, predictor.task)[0]
    likeliest = int(probabilities.argmax())
    scan = preparation_steps(Path(file), predictor.size, decode_alone)["resized"]
    heat_map = None
    if not predictor.exported:
        from lungkeras.explanation.gradcam import grad_cam

        heat_map = grad_cam(predictor.model, scan[None], likeliest)[0]
    called = answers["predicted"][0]
    return Prediction(
        file=printable(file),
        model=predictor.name,
        task=predictor.task,
        classes=predictor.classes,
        predicted=tuple(called.split("|")) if called else (),
        probabilities=probabilities,
        given=given[0],
        explained=predictor.classes[likeliest],
        scan=scan,
        heat_map=heat_map,
        similar=similar_answers(run, float(probabilities[likeliest]), likeliest) if run else None,
    )


def similar_answers(run: Run, confidence: float, column: int) -> SimilarAnswers | None:
    """The fraction of the run's test answers within SIMILAR of `confidence` that is correct, with Wilson's interval.

    Multiclass: an answer is the most likely class of a scan, whichever it is. Multilabel: the probability of the class
    in `column`, where its label is known. None if no answer has a similar confidence.
    """
    labels, _ = split_of(run, "test")
    found, correct = calibration_error.answers(labels, calibration.calibrated(run, "test"), run.task)
    place = column if run.task == "multilabel" else 0
    found, correct = found[:, place], correct[:, place]
    alike = (np.abs(found - confidence) <= SIMILAR) & ~np.isnan(correct)
    if not alike.any():
        return None
    low, high = share_interval(correct[alike], patients_of(run, "test")[alike])
    return SimilarAnswers(
        float(found[alike].min()), float(found[alike].max()), int(alike.sum()), float(correct[alike].mean()), low, high
    )
