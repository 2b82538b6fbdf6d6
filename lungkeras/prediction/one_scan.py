"""One scan and what a model says of it: probabilities, a heat map, and how often such answers were right."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lungkeras.datasets.scans.workers import decode_alone
from lungkeras.evaluation import calibration
from lungkeras.prediction.predict import Predictor, predict_images
from lungkeras.preparation.scan import preparation_steps
from lungkeras.scores.share_intervals import share_interval
from lungkeras.scores.temperature import no_correction
from lungkeras.study.runs import Run, patients_of, split_of
from lungkeras.system.errors import ScanError
from lungkeras.system.text import printable

AS_SURE = 0.05  # answers whose sureness differs by no more are compared


@dataclass(frozen=True)
class Borne:
    """How answers of about the same sureness bore out on the test split: the share that is so, and its interval."""

    least: float
    most: float
    scans: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """What a model says of one scan; a notebook shows it as a picture with its numbers.

    `probabilities` are calibrated, `given` those of the model itself, both float32 (classes,). `scan` is prepared,
    uint8 (size, size); `heat_map`, float32 (size, size) in [0, 1], is the Grad-CAM of `explained`, the likeliest class,
    and None for an exported model. `borne` is None where no run was given, or none of its answers was as sure.
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
    borne: Borne | None = None


def predict_scan(predictor: Predictor, file: Path | str, run: Run | None = None) -> Prediction:
    """Asks a model about one scan; with its `run`, also how often its answers of that sureness were right.

    Raises ScanError, naming the file, where it can't be read.
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
        borne=borne_out(run, float(probabilities[likeliest]), likeliest) if run else None,
    )


def borne_out(run: Run, sure: float, column: int) -> Borne | None:
    """How many of the run's test answers within AS_SURE of `sure` are so, with Wilson's interval over patients.

    Of exclusive classes an answer is the likeliest class of a scan, whichever it is; of findings, the probability of
    the class in `column`, where its label is known. None where no answer is about as sure.
    """
    labels, _ = split_of(run, "test")
    found, so = calibration.answers(labels, calibration.calibrated(run, "test"), run.task)
    place = column if run.task == "multilabel" else 0
    found, so = found[:, place], so[:, place]
    alike = (np.abs(found - sure) <= AS_SURE) & ~np.isnan(so)
    if not alike.any():
        return None
    low, high = share_interval(so[alike], patients_of(run, "test")[alike])
    return Borne(
        float(found[alike].min()), float(found[alike].max()), int(alike.sum()), float(so[alike].mean()), low, high
    )
