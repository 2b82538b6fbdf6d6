"""Findings drawn into the lungs, where and how radiology describes them.

A lesion is what one finding changes: `opacity` (share of the lung's air that it replaces) and `lucency` (air in place
of lung), both float32 (CANVAS, CANVAS) in [0, 1]; anything beyond the lungs' edge is ignored. Side, place,
size and density are random.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from lungkeras.datasets.phantoms.anatomy import (
    APEX,
    CANVAS,
    MEDIAL,
    SIDES,
    Lungs,
    fill,
    grid,
    half_width,
    paint,
    smooth,
)

CENTIMETRE = 1 / 14


@dataclass(frozen=True)
class Lesion:
    """One lesion of a finding; `lucency` is None if no air is added."""

    finding: str
    opacity: np.ndarray
    lucency: np.ndarray | None = None

    @property
    def extent(self) -> np.ndarray:
        """Where the film changes, in [0, 1]."""
        return self.opacity if self.lucency is None else np.maximum(self.opacity, self.lucency)


def draw_lesions(finding: str, lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """The lesions of a finding, the one-sided ones in the lung on `side`; none for `normal` and `no_finding`."""
    return [] if finding in ("normal", "no_finding") else DRAWN[finding](lungs, rng, side)


def bacterial_pneumonia(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """A dense part of one lobe, cut sharply by the fissure, with air in the bronchi."""
    return [
        Lesion(
            "bacterial_pneumonia",
            lobe(lungs, rng, side, density=rng.uniform(0.85, 1.0), radius=rng.uniform(0.45, 0.65), fissure=True),
        )
    ]


def viral_pneumonia(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """Streaks like a net in an area of each lung, and small patches there."""
    x, y = grid()
    net, lesions = texture("net", rng), []
    for lung in SIDES:
        centre = lungs.point(lung, rng.uniform(0.2, 0.75), rng.uniform(0.1, 0.9))
        across, down = rng.uniform((0.32, 0.34), (0.42, 0.46))
        reach = np.exp(-(np.abs((x - centre[0]) / across) ** 3 + np.abs((y - centre[1]) / down) ** 3))
        spots = centre + rng.normal(0, 0.15, (rng.integers(1, 3), 2))
        patches = fill(*(blob(spot, rng.uniform(0.08, 0.15), rng) for spot in spots), blur=4.0)
        opacity = rng.uniform(0.8, 1.0) * np.minimum((0.8 * net + rng.uniform(0.25, 0.45)) * reach + 0.5 * patches, 1)
        lesions.append(Lesion("viral_pneumonia", opacity))
    return lesions


def covid(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """Haze in one or two patches along the ribs of each lung, more of them low; vessels stay visible in it."""
    grain, lesions = 0.85 + 0.3 * texture("grain", rng), []
    for lung in SIDES:
        density = rng.uniform(0.75, 1.0)
        for _ in range(rng.integers(1, 3)):
            centre = lungs.point(lung, rng.uniform(0.65, 0.97), np.clip(rng.normal(0.55, 0.35), 0.1, 0.95))
            outline = blob(centre, rng.uniform(0.13, 0.21), rng, stretch=rng.uniform(1.1, 1.9))
            lesions.append(Lesion("covid", density * fill(outline, blur=rng.uniform(3.0, 6.0)) * grain))
    return lesions


def lung_opacity(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """Other opacities: a lobe or fluid."""
    return (consolidation if rng.random() < 0.6 else effusion)(lungs, rng, side)


def atelectasis(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """Plates of collapsed lung above a raised half of the diaphragm."""
    raised = rng.uniform(0.12, 0.28)
    dome = lungs.domes[side]
    floor = [
        (MEDIAL, 1.2),
        (MEDIAL, dome + 0.1),
        (0.38, dome - raised),
        (0.62, dome - raised),
        (0.9, dome + 0.12),
        (1.05, 1.2),
    ]
    opacity = fill(smooth(np.array(floor) * (side, 1)), blur=1.2)
    for _ in range(rng.integers(2, 5)):
        y = dome - raised - rng.uniform(0.06, 0.45)
        start, length, tilt = rng.uniform(0.25, 0.45), rng.uniform(0.3, 0.5), rng.normal(0, 0.15)
        share = np.linspace(0, 1, 6)
        plate = np.column_stack([start + length * share, y + tilt * share + 0.03 * np.sin(3 * share)]) * (side, 1)
        band = paint([([plate], int(rng.integers(6, 10)), 1.0)], blur=1.6)
        opacity = np.maximum(opacity, rng.uniform(0.7, 1.0) * band)
    return [Lesion("atelectasis", opacity)]


def effusion(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """Fluid on the base whose upper edge climbs along the ribs."""
    level = lungs.base - rng.uniform(0.22, 0.7)
    climb = rng.uniform(0.15, 0.35)
    x = np.linspace(0, 1.1, 12)
    top = level + climb * (0.35 - (x / 1.0) ** 3)
    outline = np.concatenate([np.column_stack([x, top]), [(1.1, 1.4), (0.0, 1.4)]])
    return [Lesion("effusion", rng.uniform(0.85, 1.0) * fill(outline * (side, 1), blur=1.8))]


def mass(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """Round, wider than 3 cm, with a lobed edge."""
    radius = rng.uniform(2.2, 4.0) * CENTIMETRE
    centre = lungs.point(side, rng.uniform(0.35, 0.8), rng.uniform(0.15, 0.8))
    return [Lesion("mass", rng.uniform(0.75, 1.0) * fill(blob(centre, radius, rng, rough=0.1), blur=1.2))]


def nodule(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """One to three round spots, less than 3 cm wide."""
    lesions = []
    for _ in range(rng.choice([1, 2, 3, 3])):
        centre = lungs.point(side, rng.uniform(0.3, 0.85), rng.uniform(0.1, 0.85))
        spot = fill(blob(centre, rng.uniform(0.95, 1.38) * CENTIMETRE, rng, rough=0.04), blur=0.8)
        lesions.append(Lesion("nodule", rng.uniform(0.8, 1.0) * spot))
    return lesions


def pneumothorax(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """Air between ribs and lung at apex and side: no vessels beyond the thin line of the pleura."""
    apical, lateral = rng.uniform(0.15, 0.45), rng.uniform(0.2, 0.5)
    end = rng.uniform(0.3, 0.9)
    y = np.linspace(APEX + apical, end, 14)
    share = (y - y[0]) / (y[-1] - y[0])
    pleura = np.column_stack([half_width(y) - lateral * (1 - share**2) * np.minimum(1, 0.5 + share) - 0.01, y])
    pleura = np.concatenate([[(MEDIAL, APEX + 0.8 * apical), (MEDIAL + 0.1, APEX + 0.75 * apical)], pleura])
    beyond = np.concatenate([pleura, [(1.3, end), (1.3, -1.4), (MEDIAL, -1.4)]])
    lucency = fill(smooth(beyond * (side, 1)), blur=0.8)
    line = paint([([smooth(pleura * (side, 1), closed=False)], 3, 1.0)], blur=0.6)
    return [Lesion("pneumothorax", rng.uniform(0.6, 1.0) * line, lucency)]


def consolidation(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """A filled lobe, with fuzzy edges and air in the bronchi."""
    return [
        Lesion(
            "consolidation",
            lobe(lungs, rng, side, density=rng.uniform(0.75, 0.95), radius=rng.uniform(0.4, 0.6), fissure=False),
        )
    ]


def edema(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """Haze around both roots, denser below, through which the vessels stay visible."""
    x, y = grid()
    low = rng.uniform(0.15, 0.45)
    haze = np.exp(-(((np.abs(x) - 0.34) / 0.32) ** 4 + ((y - low) / 0.55) ** 4))
    return [Lesion("edema", np.minimum(rng.uniform(0.6, 0.9) * haze * (0.75 + 0.4 * texture("cloud", rng)), 1))]


def fibrosis(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """A coarse net at the bases of both lungs."""
    x, y = grid()
    start = lungs.base - rng.uniform(0.5, 0.8)
    reach = np.clip((y - start) / 0.3, 0, 1) * np.clip((np.abs(x) - 0.15) / 0.3, 0, 1)
    return [Lesion("fibrosis", np.minimum(rng.uniform(0.8, 1.0) * texture("net", rng) * reach, 1))]


def pleural_thickening(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """A dense band along the ribs at the side."""
    start, end = rng.uniform(-0.5, -0.1), rng.uniform(0.3, 0.6)
    y = np.linspace(start, end, 12)
    width = rng.uniform(0.08, 0.16) * np.sin(np.linspace(0, np.pi, 12)) + 0.02
    outline = np.concatenate(
        [np.column_stack([half_width(y) + 0.1, y]), np.column_stack([half_width(y) - width, y])[::-1]]
    )
    return [Lesion("pleural_thickening", rng.uniform(0.85, 1.0) * fill(outline * (side, 1), blur=1.0))]


def fracture(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """Callus on one to three ribs, one below the other at the side."""
    first, lesions = rng.uniform(-0.4, 0.1), []
    for rib in range(rng.integers(1, 4)):
        y = first + 0.17 * rib
        centre = np.array([side * (float(half_width(np.array(y))) - 0.07), y])
        spot = fill(blob(centre, rng.uniform(0.05, 0.08), rng, stretch=0.6), blur=0.8)
        lesions.append(Lesion("fracture", rng.uniform(0.85, 1.0) * spot))
    return lesions


def support_devices(lungs: Lungs, rng: np.random.Generator, side: int) -> list[Lesion]:
    """A line from the apex of one lung down to the heart."""
    share = np.linspace(0, 1, 10)
    start, end = rng.uniform((0.45, -0.75), (0.65, -0.6)), rng.uniform((0.14, 0.1), (0.22, 0.3))
    bend = np.array([0.2, start[1] + rng.uniform(0.05, 0.15)])
    line = np.outer((1 - share) ** 2, start) + np.outer(2 * share * (1 - share), bend) + np.outer(share**2, end)
    return [Lesion("support_devices", paint([([line * (side, 1)], int(rng.integers(5, 8)), 1.0)], blur=0.6))]


DRAWN: dict[str, Callable[[Lungs, np.random.Generator, int], list[Lesion]]] = {
    function.__name__: function
    for function in (
        bacterial_pneumonia,
        viral_pneumonia,
        covid,
        lung_opacity,
        atelectasis,
        effusion,
        mass,
        nodule,
        pneumothorax,
        consolidation,
        edema,
        fibrosis,
        pleural_thickening,
        fracture,
        support_devices,
    )
}


def lobe(
    lungs: Lungs, rng: np.random.Generator, side: int, *, density: float, radius: float, fissure: bool
) -> np.ndarray:
    """Opacity of a filled part of one lobe: mottled, with dark bronchi, straight along the fissure if there is one."""
    centre = lungs.point(side, rng.uniform(0.35, 0.7), rng.uniform(0.15, 0.85))
    outline = blob(centre, radius, rng, stretch=rng.uniform(0.7, 1.3), rough=0.15)
    region = fill(outline, blur=2.5 if fissure else 6.0)
    if fissure:
        tilt, away = side * rng.uniform(-0.2, 0.45), rng.choice([-1, 1])
        y = centre[1] - 0.3 * away * radius
        ends = np.array([(x, y + tilt * (x - centre[0])) for x in (-1.6, 1.6)])
        region = region * fill(np.concatenate([ends, [(1.6, 2.5 * away), (-1.6, 2.5 * away)]]), blur=0.8)
    hilum = np.array([side * 0.25, 0.02])
    tips = centre + rng.uniform(-0.3, 0.3, (4, 2))
    bronchi = [smooth(np.array([hilum, (hilum + tip) / 2 + rng.normal(0, 0.04, 2), tip]), closed=False) for tip in tips]
    opacity = density * region * (0.75 + 0.4 * texture("cloud", rng)) * (1 - 0.5 * paint([(bronchi, 4, 1.0)], blur=0.8))
    return np.minimum(opacity, 1)


def blob(centre: np.ndarray, radius: float, rng: np.random.Generator, *, stretch=1.0, rough=0.12) -> np.ndarray:
    """The outline (points, 2) of a roundish spot, `stretch` times as high as wide; rough=0 is an ellipse."""
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radii = radius * (1 + rng.normal(0, rough, 12)) * np.array([[stretch**-0.5], [stretch**0.5]])
    return smooth(centre + (radii * [np.cos(angles), np.sin(angles)]).T)


@cache
def _textures() -> dict[str, np.ndarray]:
    """Large fields in [0, 1] to cut from: a net of streaks, fine grain, soft clouds."""
    noise = np.random.default_rng(0).normal(size=(3, 2 * CANVAS, 2 * CANVAS)).astype(np.float32)
    band = cv2.GaussianBlur(noise[0], (0, 0), 4.6) - cv2.GaussianBlur(noise[0], (0, 0), 11)
    net = np.clip(1.3 - 2.2 * np.abs(band) / band.std(), 0, 1)
    grain = cv2.GaussianBlur(noise[1], (0, 0), 1.2)
    cloud = cv2.GaussianBlur(noise[2], (0, 0), 6)
    return {
        "net": net,
        "grain": 0.5 + 0.2 * grain / grain.std(),
        "cloud": np.clip(0.5 + 0.25 * cloud / cloud.std(), 0, 1),
    }


def texture(name: str, rng: np.random.Generator) -> np.ndarray:
    """A random cut of a field, sometimes mirrored: float32 (CANVAS, CANVAS) around 0.5."""
    row, column = rng.integers(0, CANVAS, 2)
    cut = _textures()[name][row : row + CANVAS, column : column + CANVAS]
    return cut[:, ::-1] if rng.random() < 0.5 else cut
