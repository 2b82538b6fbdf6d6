"""A drawn chest: the attenuation of one patient's body, before any finding.

Everything is drawn on a canvas of CANVAS x CANVAS pixels on which the chest is UNIT pixels from the spine to the ribs.
Points are (x, y) in these units, from the middle of the chest, y downwards; `side` is -1 for the lung on the left of
the image (the patient's right) and 1 for the other, where the heart is. Layers are float32 in [0, 1].
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

CANVAS, UNIT = 320, 100
SIDES = (-1, 1)
MEDIAL, APEX, BASE = 0.17, -1.06, 0.9
FRACTION_BITS = 4

HEART = [(-0.1, -0.4), (0.14, -0.46), (0.23, -0.36), (0.2, -0.16), (0.3, 0.08), (0.47, 0.36), (0.54, 0.58)]
HEART += [(0.44, 0.76), (0.0, 0.86), (-0.24, 0.74), (-0.29, 0.48), (-0.25, 0.2), (-0.14, -0.08)]
TORSO = [(0.24, -1.7), (0.25, -1.32), (0.5, -1.22), (0.95, -1.14), (1.3, -0.95), (1.7, -0.85), (1.7, -0.3)]
TORSO += [(1.28, -0.38), (1.17, 0.0), (1.14, 0.6), (1.16, 1.1), (1.2, 1.7)]
SCAPULA = [(1.02, -0.92), (1.2, -0.86), (1.12, -0.5), (0.94, -0.12), (0.86, -0.16), (0.9, -0.55), (0.82, -0.86)]
COLLARBONE = [(0.12, -0.82), (0.35, -0.9), (0.6, -0.99), (0.85, -1.0), (1.12, -1.0)]
STOMACH = [(0.3, 0.8), (0.6, 0.74), (0.66, 0.9), (0.4, 0.96)]


@dataclass(frozen=True)
class Chest:
    """One patient: the same in all of the patient's scans."""

    proportions: tuple[float, float]  # width and height, 1 on average
    domes: dict[int, float]  # how much higher each half of the diaphragm stands
    heart: float  # size, 1 on average
    ribs: tuple[float, float, float]  # slope, spacing, attenuation
    thickness: float  # of the soft tissue, 1 on average
    aeration: float  # share of the soft tissue's attenuation that the lungs lack
    breasts: float  # attenuation of the breast shadows, 0 for none
    stomach: float  # how much air lies under the left dome, 0 for none
    vessels: list[np.ndarray]  # branches (number, 5 points, 2), from the hila outwards


def draw_patient(rng: np.random.Generator, *, child: bool = False) -> Chest:
    """Draws a patient's body. Children have a wider heart and flatter ribs, and no breast shadows."""
    return Chest(
        proportions=(rng.uniform(0.9, 1.08), rng.uniform(0.9, 1.1)),
        domes={-1: rng.uniform(-0.08, 0.12), 1: rng.uniform(-0.12, 0.08)},
        heart=rng.uniform(0.82, 1.12) * (1.1 if child else 1.0),
        ribs=(
            rng.uniform(0.12, 0.3) if child else rng.uniform(0.22, 0.42),
            rng.uniform(0.16, 0.2),
            rng.uniform(0.05, 0.11),
        ),
        thickness=rng.uniform(0.85, 1.15),
        aeration=rng.uniform(0.58, 0.78),
        breasts=0.0 if child or rng.random() < 0.5 else rng.uniform(0.05, 0.16),
        stomach=0.0 if rng.random() < 0.4 else rng.uniform(0.5, 1.0),
        vessels=grow_vessels(rng),
    )


def grow_vessels(rng: np.random.Generator) -> list[np.ndarray]:
    """Branches that leave the hila like a fan, and divide three times."""
    count = 16
    side = np.repeat(SIDES, count // 2)
    tips = np.column_stack([side * rng.uniform(0.2, 0.28, count), rng.uniform(-0.12, 0.16, count)])
    angles = np.tile(np.linspace(-1.35, 1.45, count // 2), 2) + rng.normal(0, 0.12, count)
    generations = []
    for length, most in ((0.2, 24), (0.22, 28), (0.22, 28), (0.2, 0)):
        turns = angles[:, None] + np.cumsum(rng.normal(0, 0.14, (len(tips), 4)), axis=1)
        steps = np.stack([side[:, None] * np.cos(turns), np.sin(turns)], axis=2)
        steps *= length / 4 * rng.uniform(0.8, 1.3, (len(tips), 1, 1))
        lines = tips[:, None] + np.concatenate([np.zeros((len(tips), 1, 2)), np.cumsum(steps, axis=1)], axis=1)
        generations.append(lines)
        spread = rng.uniform(0.15, 0.5, (2, len(tips))) * np.array([[1], [-1]])
        kept = rng.permutation(2 * len(tips))[:most]
        tips, angles = np.tile(lines[:, -1], (2, 1))[kept], (turns[:, -1] + spread).ravel()[kept]
        side = np.tile(side, 2)[kept]
    return generations


class Lungs:
    """The lungs of a patient in one scan: `breath` (units) lowers the diaphragm, `turn` makes the right one darker."""

    def __init__(self, chest: Chest, breath: float = 0.0, turn: float = 0.0) -> None:
        self.base = BASE + breath  # y of the angles between ribs and diaphragm
        self.domes = {side: self.base - 0.26 - chest.domes[side] for side in SIDES}  # y of their tops
        self.masks = {side: fill(self.outline(side), blur=1.5) for side in SIDES}
        self.air = self.masks[-1] * (1 - turn) + self.masks[1] * (1 + turn)

    def outline(self, side: int) -> np.ndarray:
        """Closed curve: up along the mediastinum, over the apex, down the ribs, back over the dome."""
        base, dome = self.base, self.domes[side]
        heights = np.linspace(-0.9, base - 0.08, 9)
        wall = np.column_stack([half_width(heights), heights])
        angle = [(half_width(base) - 0.01, base), (half_width(base) - 0.02, base)]
        floor = [(0.82, dome + 0.1), (0.6, dome), (0.38, dome + 0.03), (MEDIAL, dome + 0.14)]
        inner = [(MEDIAL, 0.3), (0.15, -0.4), (0.2, -0.85), (0.36, APEX), (0.5, -1.02)]
        return smooth(np.concatenate([inner, wall, angle, floor]) * (side, 1))

    def point(self, side: int, across: float, down: float) -> np.ndarray:
        """(x, y) of a place in a lung: `across` from hilum (0) to ribs (1), `down` from apex (0) to base (1)."""
        y = APEX + 0.1 + down * (self.base - APEX - 0.2)
        return np.array([side * (MEDIAL + across * (half_width(y) - MEDIAL)), y])


def half_width(y: np.ndarray | float) -> np.ndarray | float:
    """Distance from the spine to the ribs' inner side."""
    return 1.0 - (np.maximum(0.6 - np.asarray(y), 0.0) / 1.8) ** 4


def attenuate(chest: Chest, lungs: Lungs, opacity: np.ndarray, lucency: np.ndarray) -> np.ndarray:
    """The attenuation of the body, about 0 (air) to 1 (spine): float32 (CANVAS, CANVAS).

    `opacity` is the share of the lungs' air that a finding replaces; where `lucency` is 1, air replaces the lung: no
    vessels.
    """
    tissue, breasts, hila = soft_tissue()
    shift = lungs.base - BASE
    heart = fill(smooth(np.array(HEART) * chest.heart + (0, 0.62 * (1 - chest.heart) + shift)), blur=2.0)
    vessels = (
        paint(reversed([*zip(chest.vessels, (4, 3, 2, 1), (0.28, 0.22, 0.17, 0.14), strict=True)]), blur=0.8)
        + 0.3 * hila
    )
    air = lungs.air * (1 - 0.88 * heart)
    share = chest.aeration + (0.85 - chest.aeration) * 0.6 * lucency
    body = tissue * chest.thickness + 0.08 * heart + chest.breasts * breasts
    body *= 1 - share * air * (1 - np.minimum(vessels, 0.6) * (1 - lucency)) * (1 - opacity)
    if chest.stomach:
        bubble = fill(smooth(np.array(STOMACH) + (0, shift - chest.domes[1])), blur=2.0)
        body -= 0.25 * chest.stomach * bubble * (1 - air)
    return body + bones(chest)


@cache
def soft_tissue() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attenuation that all bodies share: torso and mediastinum; breasts; the hila."""
    x, y = grid()
    torso = 0.3 + 0.25 * np.sqrt(np.clip(1 - (x / 1.6) ** 2, 0, 1)) + 0.14 / (1 + np.exp((0.6 - y) * 6))
    middle = 0.17 * np.exp(-((x / 0.2) ** 2)) - 0.07 * np.exp(-((x / 0.06) ** 4)) / (1 + np.exp((y + 0.4) * 12))
    breasts = np.exp(-(((np.abs(x) - 0.6) / 0.34) ** 4) - (((y - 0.55) / 0.32) ** 4))
    hila = np.exp(-(((np.abs(x) - 0.25) / 0.09) ** 2 + ((y - 0.02) / 0.16) ** 2))
    half = np.array(TORSO)
    skin = fill(np.concatenate([half, half[::-1] * (-1, 1)]), blur=3.0)
    return skin * (torso + middle), skin * breasts, hila


def bones(chest: Chest) -> np.ndarray:
    """Ribs with bright edges, and the bones common to all bodies: collarbones, shoulder blades, vertebrae."""
    slope, spacing, strength = chest.ribs
    share, number = np.linspace(0, 1, 14), np.arange(11)[:, None]
    root, drop = -1.12 + number * spacing, slope * (0.4 + 0.08 * number)
    wall = half_width(root + 0.8 * slope) + 0.02
    across = 0.1 + (wall - 0.1) * np.sin(share * np.pi / 2)
    behind = _both_sides(across, root - 0.08 * np.sin(2.2 * share) + drop * share**2)
    across = wall - (wall - 0.32) * np.sin(share * 1.4)
    before = _both_sides(across[1:8], (root + drop - 0.06 + (0.25 + 0.5 * slope) * share**1.5)[1:8])
    ribs = paint([(before, 6, 0.6), (behind, 7, 1.0), (behind, 4, 0.6)], blur=1.0)
    return strength * ribs + _other_bones()


@cache
def _other_bones() -> np.ndarray:
    collarbones = [smooth(np.array(COLLARBONE) * (side, 1), closed=False) for side in SIDES]
    blades = [smooth(np.array(SCAPULA) * (side, 1)) for side in SIDES]
    plates = [
        np.array([(-0.1, 0), (0.1, 0), (0.1, 0.11), (-0.1, 0.11)]) + (0, top) for top in np.arange(-1.6, 1.6, 0.15)
    ]
    return (
        0.13 * paint([(collarbones, 8, 1.0), (collarbones, 5, 0.75)], blur=1.0)
        + 0.05 * fill(*blades, blur=1.0)
        + 0.07 * fill(*plates, blur=1.0)
    )


def _both_sides(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.concatenate([np.stack([side * x, y], axis=2) for side in SIDES])


@cache
def grid() -> tuple[np.ndarray, np.ndarray]:
    """x and y of every pixel of the canvas: float32 (CANVAS, CANVAS) each."""
    axis = (np.arange(CANVAS, dtype=np.float32) - CANVAS / 2) / UNIT
    x, y = np.meshgrid(axis, axis)
    return x, y


def smooth(points: np.ndarray, *, closed: bool = True) -> np.ndarray:
    """Rounds a polygon (Chaikin's corner cutting, three times); a point given twice stays a sharper corner."""
    for _ in range(3):
        before, after = (points, np.roll(points, -1, axis=0)) if closed else (points[:-1], points[1:])
        points = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1).reshape(-1, 2)
    return points


def fill(*outlines: np.ndarray, blur: float = 0.0) -> np.ndarray:
    """A layer that is 1 inside the outlines, each (points, 2)."""
    layer = np.zeros((CANVAS, CANVAS), np.uint8)
    for outline in outlines:
        cv2.fillPoly(layer, [_pixels(outline)], 255, cv2.LINE_AA, FRACTION_BITS)
    return _soften(layer, blur)


def paint(strokes: Iterable[tuple[np.ndarray | list, int, float]], *, blur: float = 0.0) -> np.ndarray:
    """A layer with strokes of (lines, thickness in pixels, value), later ones over earlier ones."""
    layer = np.zeros((CANVAS, CANVAS), np.uint8)
    for lines, thickness, value in strokes:
        cv2.polylines(layer, list(_pixels(lines)), False, 255 * value, thickness, cv2.LINE_AA, FRACTION_BITS)
    return _soften(layer, blur)


def _pixels(points: np.ndarray | list) -> np.ndarray:
    return np.round((np.asarray(points) * UNIT + CANVAS / 2) * 2**FRACTION_BITS).astype(np.int32)


def _soften(layer: np.ndarray, blur: float) -> np.ndarray:
    if blur:
        layer = cv2.GaussianBlur(layer, (0, 0), blur)
    return layer * np.float32(1 / 255)
