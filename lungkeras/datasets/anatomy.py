"""A drawn chest: what one patient's body holds back of the beam, before any finding.

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
MEDIAL, APEX, BASE = 0.17, -1.06, 0.8
FRACTION_BITS = 4

HEART = [(-0.1, -0.4), (0.14, -0.46), (0.23, -0.36), (0.2, -0.16), (0.3, 0.08), (0.47, 0.36), (0.54, 0.58)]
HEART += [(0.44, 0.76), (0.0, 0.86), (-0.24, 0.74), (-0.29, 0.48), (-0.25, 0.2), (-0.14, -0.08)]
HALF_BODY = [(0.24, -1.7), (0.25, -1.32), (0.5, -1.22), (0.95, -1.14), (1.3, -0.95), (1.7, -0.85), (1.7, -0.3)]
HALF_BODY += [(1.28, -0.38), (1.17, 0.0), (1.14, 0.6), (1.16, 1.1), (1.2, 1.7)]


@dataclass(frozen=True)
class Chest:
    """One patient: the same in all of the patient's scans."""

    proportions: tuple[float, float]  # width and height, 1 on average
    domes: dict[int, float]  # height of each half of the diaphragm
    heart: float  # size, 1 on average
    ribs: tuple[float, float, float]  # slope, spacing, attenuation
    thickness: float  # of the soft tissue
    aeration: float  # share of the soft tissue's attenuation that the lungs lack
    breasts: float  # attenuation of the breast shadows, 0 for none
    stomach: float  # size of the air under the left dome, 0 for none
    vessels: dict[int, list[np.ndarray]]  # thickness in pixels -> branches


def draw_patient(rng: np.random.Generator, *, child: bool = False) -> Chest:
    """Draws a patient's body. Children have a wider heart and flatter ribs, and no breast shadows."""
    adult = not child
    return Chest(
        proportions=(rng.uniform(0.88, 1.08) * (1.0 if adult else 0.94), rng.uniform(0.88, 1.1)),
        domes={-1: rng.uniform(-0.1, 0.12), 1: rng.uniform(-0.04, 0.16)},
        heart=rng.uniform(0.82, 1.12) * (1.0 if adult else 1.1),
        ribs=(
            rng.uniform(0.22, 0.42) if adult else rng.uniform(0.12, 0.3),
            rng.uniform(0.16, 0.2),
            rng.uniform(0.05, 0.12),
        ),
        thickness=rng.uniform(0.85, 1.2),
        aeration=rng.uniform(0.55, 0.8),
        breasts=rng.choice([0.0, rng.uniform(0.05, 0.16)]) if adult else 0.0,
        stomach=rng.choice([0.0, rng.uniform(0.5, 1.0)]),
        vessels=grow_vessels(rng),
    )


class Lungs:
    """The lungs of a patient in one scan: how far `breath` (units) lowers the diaphragm."""

    def __init__(self, chest: Chest, breath: float) -> None:
        self.chest, self.breath = chest, breath
        self.masks = {side: fill([self.outline(side)], blur=1.5) for side in SIDES}

    def base(self, side: int) -> float:
        """y of the costophrenic angle."""
        return BASE + 0.1 + self.breath

    def outline(self, side: int) -> np.ndarray:
        """Closed curve: up along the mediastinum, over the apex, down the ribs, back over the dome."""
        base, dome = self.base(side), self.base(side) - 0.28 + self.chest.domes[side]
        heights = np.linspace(-0.9, base - 0.08, 9)
        wall = np.column_stack([half_width(heights), heights])
        floor = [(half_width(base) - 0.01, base), (half_width(base) - 0.02, base), (0.82, dome + 0.1), (0.6, dome)]
        floor += [(0.38, dome + 0.03), (MEDIAL, dome + 0.14)]
        points = np.concatenate([[(MEDIAL, 0.3), (0.15, -0.4), (0.2, -0.85), (0.36, APEX), (0.5, -1.02)], wall, floor])
        return smooth(points * (side, 1))

    def point(self, side: int, across: float, down: float) -> np.ndarray:
        """(x, y) of a place in a lung: `across` from hilum (0) to ribs (1), `down` from apex (0) to base (1)."""
        y = APEX + 0.1 + down * (self.base(side) - APEX - 0.2)
        return np.array([side * (MEDIAL + across * (half_width(y) - MEDIAL)), y])


def half_width(y: np.ndarray | float) -> np.ndarray | float:
    """Distance from the spine to the ribs' inner side."""
    return 1.0 - (np.maximum(0.6 - np.asarray(y), 0.0) / 1.8) ** 4 - 0.02 * np.maximum(np.asarray(y) - 0.6, 0.0)


def grow_vessels(rng: np.random.Generator) -> dict[int, list[np.ndarray]]:
    """Branches that leave the hila like a fan, and divide three times while they thin from 4 pixels to 1."""
    branches: dict[int, list[np.ndarray]] = {4: [], 3: [], 2: [], 1: []}
    for side in SIDES:
        angles = np.linspace(-1.35, 1.45, 8) + rng.normal(0, 0.12, 8)
        tips = [(np.array([side * rng.uniform(0.2, 0.28), rng.uniform(-0.12, 0.16)]), angle) for angle in angles]
        for thickness, length in zip((4, 3, 2, 1), (0.2, 0.22, 0.22, 0.2), strict=True):
            children = []
            for start, angle in tips:
                turns = angle + np.cumsum(rng.normal(0, 0.14, 4))
                steps = np.column_stack([side * np.cos(turns), np.sin(turns)]) * length / 4 * rng.uniform(0.8, 1.3)
                line = start + np.vstack([np.zeros(2), np.cumsum(steps, axis=0)])
                branches[thickness].append(line)
                spread = rng.uniform(0.15, 0.5, 2)
                children += [(line[-1], turns[-1] + spread[0]), (line[-1], turns[-1] - spread[1])]
            keep = rng.permutation(len(children))[: 14 if thickness > 2 else 20]
            tips = [children[index] for index in keep]
    return branches


def attenuate(chest: Chest, lungs: Lungs, opacity: np.ndarray, lucency: np.ndarray) -> np.ndarray:
    """What the body holds back, about 0 (air) to 1 (spine): float32 (CANVAS, CANVAS).

    `opacity` is the share of the lungs' air that a finding replaces; where `lucency` is 1, the lung has left the ribs:
    more air, no vessels.
    """
    x, y = grid()
    body = fill([np.concatenate([HALF_BODY, np.array(HALF_BODY)[::-1] * (-1, 1)])], blur=3)
    heart = fill([smooth(np.array(HEART) * chest.heart + (0, 0.62 * (1 - chest.heart) + lungs.breath))], blur=2)
    air = np.maximum(lungs.masks[-1], lungs.masks[1]) * (1 - 0.88 * heart)
    vessels = sum(
        stroke(lines, size, blur=0.7) * weight
        for (size, lines), weight in zip(chest.vessels.items(), (0.5, 0.45, 0.4, 0.35), strict=True)
    )
    hila = np.exp(-(((np.abs(x) - 0.25) / 0.09) ** 2 + ((y - 0.02) / 0.16) ** 2)).astype(np.float32)
    tissue = (
        body
        * chest.thickness
        * (0.3 + 0.25 * np.sqrt(np.clip(1 - (x / 1.5) ** 2, 0, 1)) + 0.12 / (1 + np.exp((0.6 - y) * 6)))
    )
    tissue += body * 0.16 * np.exp(-((x / 0.22) ** 2)) + 0.1 * heart
    tissue += chest.breasts * np.exp(-(((np.abs(x) - 0.6) / 0.34) ** 4) - (((y - 0.55) / 0.32) ** 4))
    filled = np.clip(1 - 0.55 * np.minimum(vessels + 0.8 * hila, 1) * (1 - lucency), 0, 1) * (1 - opacity)
    tissue *= 1 - np.clip(chest.aeration * (1 + 0.25 * lucency), 0, 0.93) * air * filled
    bubble = fill(
        [
            smooth(
                np.array([(0.3, 0.74), (0.6, 0.68), (0.66, 0.84), (0.4, 0.9)])
                + (0, lungs.breath + chest.domes[1] + 0.06)
            )
        ],
        blur=2,
    )
    tissue -= 0.22 * chest.stomach * bubble * (1 - air)
    return tissue.astype(np.float32) + body * bones(chest)


def bones(chest: Chest) -> np.ndarray:
    """Ribs with bright edges, collarbones, vertebrae."""
    slope, spacing, strength = chest.ribs
    share = np.linspace(0, 1, 14)
    behind, before = [], []
    for number in range(11):
        root = -1.12 + number * spacing
        wall = half_width(root + 0.8 * slope) + 0.02
        across = 0.1 + (wall - 0.1) * np.sin(share * np.pi / 2)
        behind.append(
            np.column_stack([across, root - 0.08 * np.sin(2.2 * share) + slope * (0.4 + 0.08 * number) * share**2])
        )
        start = root + slope * (0.4 + 0.08 * number) - 0.06
        before.append(
            np.column_stack([wall - (wall - 0.32) * np.sin(share * 1.4), start + (0.25 + slope * 0.5) * share**1.5])
        )
    collarbone = np.array([(0.12, -0.82), (0.35, -0.9), (0.6, -0.99), (0.85, -1.0), (1.1, -1.03)])
    behind, before = ([line * (side, 1) for side in SIDES for line in lines] for lines in (behind, before[1:8]))
    plates = [
        np.array([(-0.1, 0), (0.1, 0), (0.1, 0.11), (-0.1, 0.11)]) + (0, top) for top in np.arange(-1.6, 1.6, 0.15)
    ]
    edges = stroke(behind, 7, blur=1) - 0.45 * stroke(behind, 4, blur=1) + 0.6 * stroke(before, 7, blur=1.2)
    clavicles = stroke([smooth(collarbone * (side, 1), closed=False) for side in SIDES], 8, blur=1)
    return strength * edges + 0.12 * clavicles + 0.06 * fill(plates, blur=1)


@cache
def grid() -> tuple[np.ndarray, np.ndarray]:
    """x and y of every pixel of the canvas: float32 (CANVAS, CANVAS) each."""
    axis = (np.arange(CANVAS, dtype=np.float32) - CANVAS / 2) / UNIT
    x, y = np.meshgrid(axis, axis)
    return x, y


def smooth(points: np.ndarray, *, closed: bool = True) -> np.ndarray:
    """Rounds a polygon (Chaikin's corner cutting); a point given twice stays a sharper corner."""
    for _ in range(3):
        after = np.roll(points, -1, axis=0) if closed else points[1:]
        before = points if closed else points[:-1]
        points = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1).reshape(-1, 2)
    return points


def fill(outlines: Iterable[np.ndarray], *, blur: float = 0.0) -> np.ndarray:
    """A layer that is 1 inside the outlines."""
    layer = np.zeros((CANVAS, CANVAS), np.uint8)
    for outline in outlines:
        cv2.fillPoly(layer, [_pixels(outline)], 255, cv2.LINE_AA, FRACTION_BITS)
    return _soften(layer, blur)


def stroke(lines: Iterable[np.ndarray], thickness: int, *, blur: float = 0.0) -> np.ndarray:
    """A layer that is 1 along the lines, `thickness` pixels wide."""
    layer = np.zeros((CANVAS, CANVAS), np.uint8)
    cv2.polylines(layer, [_pixels(line) for line in lines], False, 255, thickness, cv2.LINE_AA, FRACTION_BITS)
    return _soften(layer, blur)


def _pixels(points: np.ndarray) -> np.ndarray:
    return np.round((np.asarray(points) * UNIT + CANVAS / 2) * 2**FRACTION_BITS).astype(np.int32)


def _soften(layer: np.ndarray, blur: float) -> np.ndarray:
    if blur:
        layer = cv2.GaussianBlur(layer, (0, 0), blur)
    return layer.astype(np.float32) / 255
