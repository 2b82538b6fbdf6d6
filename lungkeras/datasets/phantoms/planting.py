"""What can be planted in a drawn source, with its ground truth, for the audit and the tests to find.

    clean            nothing: the truth alone, with the boxes of all lesions
    marker=P         a bright marker in the upper left corner of a share P of the first class's scans and 1 - P of all
                     others: at 0.5 it is uninformative, at 1 it determines the class
    duplicates=N     N scans that are copies of another patient's scan of the same label: exact, re-encoded, resized,
                     cropped by 3 % a side, or of another gamma; with duplicates:KIND=N also cropped-wide (8 % a side),
                     padded (5 % a side), text (burnt in), clahe, mirrored, inverted or rotated (by 1 degree)
    noise=RATE       scans whose label is wrong: they show another class
    leaky            a pattern of the patient's own in all of the patient's scans, and more scans a patient
    sources=N        N scanners, distinguished by their tone; each has a class that it scans most
    multilabel=SHARE the share of atelectasis scans that show an effusion as well (xray8)
    strata=SHARE     a chest drain on a share of the scans of pneumothorax, or else of the first class
    null             labels that have nothing to do with what the scans show

TRUTH.csv in the source's root has one row per scan: path, patient (a number), label and shown (what lists say and what
was drawn, separated by |), marker (left top width height), copy_of (a path), copy (its kind), scanner, drain, boxes
(finding left top width height, separated by ;). Boxes are in pixels of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lungkeras.system.errors import SourceError
from lungkeras.system.untrusted import table_files

if TYPE_CHECKING:
    import pandas as pd

    from lungkeras.datasets.plans import Box, Scan

TRUTH = "TRUTH.csv"
COLUMNS = ("path", "patient", "label", "shown", "marker", "copy_of", "copy", "scanner", "drain", "boxes")
PLANTS = {  # name: default, minimum, maximum
    "clean": (None, None, None),
    "marker": (1.0, 0.0, 1.0),
    "duplicates": (40, 1, None),
    "noise": (0.05, 0.0, 0.5),
    "leaky": (None, None, None),
    "sources": (2, 2, 8),
    "strata": (0.7, 0.0, 1.0),
    "multilabel": (0.5, 0.0, 1.0),
    "null": (None, None, None),
}
TOGETHER = ("atelectasis", "effusion")
COPIES = ("exact", "re-encoded", "resized", "cropped", "gamma")
HARDER_COPIES = ("cropped-wide", "padded", "text", "clahe", "mirrored", "inverted", "rotated")  # planted by name
SHARE_OF_LEAKY_PATIENTS = {3: 0.3, 4: 0.4, 5: 0.3}  # by the number of their scans
OWN_SCANNER = 0.8  # of the scans of a class
CODE = 40  # grey levels by which a patient's pattern changes a scan
STREAM = 1000  # first of the random streams that the drawing itself does not use


@dataclass
class Planted:
    """What one scan is drawn with; `copy_of` is the place of another scan in the plan."""

    shown: tuple[str, ...]
    marker: bool = False
    drain: bool = False
    scanner: int | None = None
    copy_of: int | None = None
    copy: str = ""


def parse_plants(texts: Sequence[str], classes: Sequence[str]) -> dict[str, float | None]:
    """["marker=0.8", "noise:covid=0.1"] -> {"marker": 0.8, "noise:covid": 0.1}.

    Raises SourceError for an unknown name, class, kind of copy or value.
    """
    parts = {"duplicates": (*COPIES, *HARDER_COPIES), "noise": tuple(classes)}
    plants = {}
    for text in texts:
        planted, given, value = text.partition("=")
        name, narrowed, part = planted.partition(":")
        if name not in PLANTS:
            raise SourceError(f"expected something to plant, one of {', '.join(PLANTS)}; found {name!r}: choose one")
        if narrowed and part not in (known := parts.get(name, ())):
            one_of = f"one of {', '.join(known)} after the colon" if known else "no colon"
            raise SourceError(f"{name}: expected {one_of}, found {part!r}: correct {text}")
        plants[planted] = _value(name, value) if given else PLANTS[name][0]
    names = [name.partition(":")[0] for name in plants]
    if {"null", "noise"} <= set(names):
        raise SourceError("null makes every label noise: plant null or noise, not both")
    for name, narrowed in parts.items():
        if name in plants and names.count(name) > 1:
            raise SourceError(f"{name}: expected it of all or of some, found both: name {', '.join(narrowed)} or none")
    return plants


def _value(name: str, text: str) -> float:
    default, least, most = PLANTS[name]
    if default is None:
        raise SourceError(f"{name} takes no value; found {name}={text}: write {name}")
    try:
        value = type(default)(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= (np.inf if most is None else most):
        kind = "a whole number" if isinstance(default, int) else "a number"
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise SourceError(f"{name}: expected {kind} {bounds}, found {text!r}: write {name}={default}")
    return value


def plant(
    plants: Mapping[str, float | None], planned: Sequence[Scan], key: tuple[int, ...], classes: Sequence[str]
) -> list[Planted]:
    """What each planned scan is drawn with. Every plant draws from a random stream of its own, started by `key`.

    `classes` are the dataset's; the first one carries the marker, and pneumothorax, where it is one, the drain.
    Raises SourceError if there are too few scans for so many duplicates.
    """
    truth = [Planted(scan.findings) for scan in planned]
    for name, planting in PLANT.items():
        rng = np.random.default_rng((*key, 0, STREAM + list(PLANTS).index(name)))  # there is no patient 0
        for planted, value in plants.items():
            plain, _, part = planted.partition(":")
            if plain == name:
                planting(truth, planned, value, part, rng, classes)
    return truth


def pair_findings(planned: Sequence[Scan], share: float, key: tuple[int, ...]) -> list[Scan]:
    """The plan with effusions added to scans of atelectasis alone, until `share` of all of them have both.

    Scans that already have both are unchanged; if there are already enough, nothing changes.
    """
    rng = np.random.default_rng((*key, 0, STREAM + list(PLANTS).index("multilabel")))
    first = [set(scan.findings) for scan in planned if TOGETHER[0] in scan.findings]
    wanted = round(share * len(first)) - sum(set(TOGETHER) <= found for found in first)
    alone = [place for place, scan in enumerate(planned) if scan.findings == TOGETHER[:1]]
    chosen = set(rng.permutation(alone)[: max(wanted, 0)].tolist())
    return [replace(scan, findings=TOGETHER) if place in chosen else scan for place, scan in enumerate(planned)]


def _marker(truth, planned, share, part, rng, classes) -> None:
    carriers = np.array([classes[0] in scan.findings for scan in planned])
    for places, marked in ((np.flatnonzero(carriers), share), (np.flatnonzero(~carriers), 1 - share)):
        for place in rng.permutation(places)[: round(marked * len(places))]:
            truth[place].marker = True


def _duplicates(truth, planned, number, part, rng, classes) -> None:
    # Only of patients with one scan, so that a pair joins two patients and no more, and only of what every selection
    # keeps: findings that the study has, and no normal scan, as these are undersampled.
    scans = np.bincount([scan.patient for scan in planned])
    findings = [set(classes) - {"no_finding"} - ({"normal"} if "covid" in classes else set()) >= set(scan.findings)
                for scan in planned]  # fmt: skip
    paired = {place for copy, entry in enumerate(truth) if entry.copy for place in (copy, entry.copy_of)}
    single = [
        place
        for place, scan in enumerate(planned)
        if findings[place] and scans[scan.patient] == 1 and place not in paired
    ]
    of_label: dict[tuple[str, ...], list[int]] = {}
    for place in rng.permutation(single):
        of_label.setdefault(planned[place].findings, []).append(int(place))
    pairs = [pair for places in of_label.values() for pair in zip(places[::2], places[1::2], strict=False)]
    if len(pairs) < number:
        raise SourceError(
            f"expected at most {len(pairs)} duplicates in so few scans, found {number}: plant fewer or draw more scans"
        )
    for index, pair in enumerate(rng.permutation(pairs)[:number]):
        original, copy = map(int, pair)
        truth[copy] = replace(truth[original], copy_of=original, copy=part or COPIES[index % len(COPIES)])


def _noise(truth, planned, rate, part, rng, classes) -> None:
    known = [set(scan.findings) <= set(classes) and (not part or part in scan.findings) for scan in planned]
    places = np.flatnonzero(known)
    for place in rng.permutation(places)[: round(rate * len(places))]:
        others = [name for name in classes if name not in planned[place].findings]
        truth[place].shown = (str(rng.choice(others)),)


def _null(truth, planned, value, part, rng, classes) -> None:
    for entry, place in zip(truth, rng.permutation(len(planned)), strict=True):
        entry.shown = planned[place].findings


def _sources(truth, planned, number, part, rng, classes) -> None:
    for entry, scan in zip(truth, planned, strict=True):
        known = [classes.index(name) for name in scan.findings if name in classes]
        own = known[0] % number if known and rng.random() < OWN_SCANNER else int(rng.integers(number))
        entry.scanner = own


def _strata(truth, planned, share, part, rng, classes) -> None:
    carrier = "pneumothorax" if "pneumothorax" in classes else classes[0]
    places = [place for place, scan in enumerate(planned) if carrier in scan.findings]
    for place in rng.permutation(places)[: round(share * len(places))]:
        truth[place].drain = True


# In this order, whatever the user's: a copy has everything that its original has.
PLANT = {
    "noise": _noise,
    "null": _null,
    "sources": _sources,
    "strata": _strata,
    "marker": _marker,
    "duplicates": _duplicates,
}


def develop(
    image: np.ndarray, planted: Planted, plants: Mapping[str, float | None], code: np.random.Generator, rng
) -> tuple[np.ndarray, tuple[int, int, int, int] | None]:
    """A drawn scan with what is planted in it, and the marker's box; `code` is the patient's stream, `rng` the scan's.

    uint8 of shape (height, width) in, the same out.
    """
    if "leaky" in plants:
        image = add_code(image, code)
    if planted.drain:
        image = add_drain(image, rng)
    if planted.scanner is not None:
        image = scan_with(image, planted.scanner, int(plants["sources"]))
    return add_marker(image, rng) if planted.marker else (image, None)


def add_marker(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A bright disc in the upper left corner, 8 % of the shorter side wide; and its box."""
    image, side = image.copy(), min(image.shape)
    radius = round(0.04 * side)
    x, y = (int(place) for place in rng.uniform(0.055, 0.08, 2) * side)
    cv2.circle(image, (x, y), radius, 250, -1, cv2.LINE_AA)
    return image, (x - radius, y - radius, 2 * radius + 1, 2 * radius + 1)


def add_drain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A tube from the ribs towards the apex of one lung: two thin bright lines and a brighter one between."""
    height, width = image.shape
    share = np.linspace(0, 1, 12)[:, None]
    start, bend, end = rng.uniform((0.02, 0.6), (0.1, 0.75)), rng.uniform((0.16, 0.5), (0.24, 0.6)), (0.32, 0.25)
    line = (1 - share) ** 2 * start + 2 * share * (1 - share) * bend + share**2 * np.array(end)
    if rng.random() < 0.5:
        line[:, 0] = 1 - line[:, 0]
    tube = np.zeros(image.shape, np.uint8)
    points = [np.round(line * (width, height)).astype(np.int32)]
    cv2.polylines(tube, points, False, 70, max(3, width // 50), cv2.LINE_AA)
    cv2.polylines(tube, points, False, 110, 1, cv2.LINE_AA)
    return cv2.add(image, tube)


def add_code(image: np.ndarray, code: np.random.Generator) -> np.ndarray:
    """A soft pattern over the whole scan, the same in all scans of a patient."""
    pattern = code.choice([-1.0, 1.0], (6, 6)).astype(np.float32)
    field = cv2.resize(pattern, image.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(image + CODE * field, 0, 255).astype(np.uint8)


def scan_with(image: np.ndarray, scanner: int, scanners: int) -> np.ndarray:
    """The tone of a scanner: gamma from 0.7 to 1.4, and every second one is softer."""
    gamma = float(np.geomspace(0.7, 1.4, scanners)[scanner])
    image = change_gamma(image, gamma)
    return cv2.GaussianBlur(image, (0, 0), 1.0) if scanner % 2 else image


def change_gamma(image: np.ndarray, gamma: float) -> np.ndarray:
    """Grey levels, as shares of 255, to the power of gamma."""
    return cv2.LUT(image, np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8))


def copied(encoded: bytes, kind: str, suffix: str, rng: np.random.Generator) -> bytes:
    """The file of a copy, of one of COPIES or HARDER_COPIES, from the file of its original."""
    if kind == "exact":
        return encoded
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    height, width = image.shape
    if kind == "re-encoded":
        lossy = cv2.imencode(".jpeg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 86))])[1]
        if suffix == ".jpeg":
            return lossy.tobytes()
        image = cv2.imdecode(lossy, cv2.IMREAD_GRAYSCALE)
    elif kind == "resized":
        scale = rng.uniform(0.6, 0.9)
        image = cv2.resize(image, (round(scale * width), round(scale * height)), interpolation=cv2.INTER_AREA)
    elif kind in ("cropped", "cropped-wide"):
        share = 0.03 if kind == "cropped" else 0.08
        across, down = round(share * width), round(share * height)
        image = image[down : height - down, across : width - across]
    elif kind == "gamma":
        image = change_gamma(image, rng.choice([rng.uniform(0.65, 0.85), rng.uniform(1.2, 1.5)]))
    elif kind == "padded":
        across, down = round(0.05 * width), round(0.05 * height)
        image = cv2.copyMakeBorder(image, down, down, across, across, cv2.BORDER_CONSTANT, value=0)
    elif kind == "text":
        size = min(height, width) / 400
        for words, place in (("PORTABLE AP", (0.05, 0.1)), ("12345", (0.7, 0.95))):
            corner = (round(place[0] * width), round(place[1] * height))
            cv2.putText(image, words, corner, cv2.FONT_HERSHEY_SIMPLEX, size, 255, max(1, round(2 * size)))
    elif kind == "clahe":
        image = cv2.createCLAHE(2.0, (8, 8)).apply(image)
    elif kind == "mirrored":
        image = cv2.flip(image, 1)
    elif kind == "inverted":
        image = cv2.bitwise_not(image)
    elif kind == "rotated":
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(rng.choice([-1, 1])), 1)
        image = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR)
    return cv2.imencode(suffix, image)[1].tobytes()


def write_truth(to: Path, planned: Sequence[Scan], truth: Sequence[Planted], boxes: Mapping[str, list[Box]],
                markers: Mapping[str, tuple[int, int, int, int]]) -> None:  # fmt: skip
    """Writes TRUTH.csv; no name in it holds a comma."""
    rows = [COLUMNS]
    for scan, planted in zip(planned, truth, strict=True):
        lesions = [f"{box.finding} {box.left} {box.top} {box.width} {box.height}" for box in boxes[scan.path]]
        rows.append(
            (
                scan.path,
                str(scan.patient),
                "|".join(scan.findings),
                "|".join(planted.shown),
                " ".join(map(str, markers.get(scan.path, ()))),
                "" if planted.copy_of is None else planned[planted.copy_of].path,
                planted.copy,
                "" if planted.scanner is None else str(planted.scanner),
                str(int(planted.drain)),
                ";".join(lesions),
            )
        )
    (to / TRUTH).write_bytes("".join(",".join(row) + "\n" for row in rows).encode())


def read_truth(source: Path | str) -> pd.DataFrame:
    """TRUTH.csv of a planted source, as described above; every column is text, empty if nothing was planted.

    Raises SourceError if the source has none.
    """

    file = Path(source) / TRUTH
    if not file.is_file():
        raise SourceError(f"{source}: expected a source with something planted, found no {TRUTH}: draw it with --plant")
    return table_files.read_csv(file, dtype=str, keep_default_na=False)
