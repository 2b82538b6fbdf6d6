"""A film: a drawn chest with its findings, placed, exposed and developed as one scan."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np

from lungkeras.datasets.phantoms.anatomy import CANVAS, UNIT, Chest, Lungs, attenuate
from lungkeras.datasets.phantoms.lesions import draw_lesions
from lungkeras.datasets.plans import Box

NOISE_SIDE = 640
SEEN = 0.2  # a lesion's box holds all that exceeds this share of its densest part


def draw_film(
    chest: Chest, findings: tuple[str, ...], rng: np.random.Generator, shape: tuple[int, int] = (256, 256)
) -> tuple[np.ndarray, list[Box]]:
    """Draws one scan: uint8 of `shape` (height, width), and one box per lesion (none for normal and no_finding).

    Position, exposure and noise come from separate random streams: without its findings, the same film is drawn.
    """
    placing, ailing, exposing = rng.spawn(3)
    if "cardiomegaly" in findings:
        chest = replace(chest, heart=chest.heart * 1.45)
    lungs = Lungs(chest, breath=placing.uniform(-0.12, 0.08), turn=placing.normal(0, 0.07))
    matrix = place(chest, placing, shape)
    side = int(ailing.choice([-1, 1]))
    sides = [side, -side]
    lesions = [
        lesion
        for number, finding in enumerate(finding for finding in findings if finding != "cardiomegaly")
        for lesion in draw_lesions(finding, lungs, ailing, sides[number % 2])
    ]
    opacity = np.zeros((CANVAS, CANVAS), np.float32)
    lucency = np.zeros((CANVAS, CANVAS), np.float32)
    for lesion in lesions:
        opacity = np.maximum(opacity, lesion.opacity)
        lucency = lucency if lesion.lucency is None else np.maximum(lucency, lesion.lucency)
    body = attenuate(chest, lungs, opacity, lucency * (1 - opacity))
    size = (shape[1], shape[0])
    image = expose(cv2.warpAffine(body, matrix, size), exposing)
    return image, [box(lesion.finding, cv2.warpAffine(lesion.extent * lungs.air, matrix, size)) for lesion in lesions]


def place(chest: Chest, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """The affine map (2, 3) from canvas to film: the patient's proportions, distance, tilt and shift."""
    height, width = shape
    scale = rng.uniform(0.92, 1.14) * min(shape) / (2.5 * UNIT)
    angle = np.deg2rad(rng.normal(0, 3.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag(np.array(chest.proportions) * scale)
    shift = np.array([width, height]) * (0.5 + rng.uniform(-0.07, 0.07, 2))
    return np.column_stack([linear, shift - linear @ (CANVAS / 2, CANVAS / 2)])


def expose(body: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Develops attenuation to grey levels: exposure, uneven beam, curve, noise, a marker, sometimes a blank border."""
    height, width = body.shape
    across, down = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    exposure, slope = rng.uniform(1.3, 2.0), rng.normal(0, 0.07, 2)
    beam = exposure * (1 + slope[0] * across + slope[1] * down[:, None])
    row, column = rng.integers(0, NOISE_SIDE - max(body.shape), 2)
    noise = _noise()[row : row + height, column : column + width]
    film = 1 - np.exp(-body * beam.astype(np.float32)) + rng.uniform(0.003, 0.01) * noise
    film = cv2.pow(np.clip(film / float(1 - np.exp(-1.1 * exposure)), 0, 1), rng.uniform(0.9, 1.5))
    image = np.clip(255 * (rng.uniform(0.0, 0.12) + rng.uniform(0.75, 0.9) * film), 0, 255).astype(np.uint8)
    mark(image, rng)
    if rng.random() < 0.25:
        blank_border(image, rng)
    return image


def mark(image: np.ndarray, rng: np.random.Generator) -> None:
    """Writes the side's letter into an upper corner: R on the left of the image, L on its right."""
    height, width = image.shape
    letter = str(rng.choice(["R", "L"]))
    x = rng.uniform(0.03, 0.12) if letter == "R" else rng.uniform(0.84, 0.92)
    place = (int(x * width), int(rng.uniform(0.08, 0.22) * height))
    cv2.putText(image, letter, place, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.35, 0.65), 245, 1, cv2.LINE_AA)


def blank_border(image: np.ndarray, rng: np.random.Generator) -> None:
    """Blanks a strip on one or more sides, as the collimator does."""
    height, width = image.shape
    left, right = (rng.random(2) < 0.6) * rng.uniform(0.01, 0.06, 2) * width
    top, bottom = (rng.random(2) < 0.4) * rng.uniform(0.01, 0.05, 2) * height
    image[: int(top)] = image[height - int(bottom) :] = 0
    image[:, : int(left)] = image[:, width - int(right) :] = 0


def box(finding: str, extent: np.ndarray) -> Box:
    """The box around the visible part of a lesion."""
    seen = (extent > SEEN * max(float(extent.max()), 1e-6)).astype(np.uint8)
    return Box(finding, *cv2.boundingRect(seen))


@cache
def _noise() -> np.ndarray:
    """A field of grain to cut from, standard deviation 1: float32 (NOISE_SIDE, NOISE_SIDE)."""
    noise = np.random.default_rng(1).normal(size=(NOISE_SIDE, NOISE_SIDE)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.7)
    return noise / noise.std()
