"""Drawn sources: chest phantoms with known findings, written in the layout in which each dataset is published.

A drawn source goes through the same readers as the real collection, without a network. It includes the cases they must
handle: several scans of some patients, scans that the study leaves out, and (xray8) two findings in one scan. The same
seed gives the same bytes (but a workbook also holds the time of its writing). PHANTOM.txt in its root says that these
are drawings, and marks the folder as one that may be drawn again. Boxes are in pixels of their file (NIH's are in
pixels of scans of 1024 x 1024); if the published layout has no list of boxes, they are in BOXES.csv.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from lungkeras.datasets.drawn import BOXES, NOTE, SIDE, is_drawn
from lungkeras.datasets.entry import Dataset, Phantom
from lungkeras.datasets.phantoms.anatomy import Chest, draw_patient
from lungkeras.datasets.phantoms.faults import copied, develop
from lungkeras.datasets.phantoms.film import draw_film
from lungkeras.datasets.phantoms.planting import (
    SHARE_OF_LEAKY_PATIENTS,
    STREAM,
    TOGETHER,
    pair_findings,
    parse_plants,
    plant,
)
from lungkeras.datasets.phantoms.truth import write_truth
from lungkeras.datasets.plans import Box, Scan
from lungkeras.datasets.registry import DATASETS, dataset_names
from lungkeras.system.errors import SourceError
from lungkeras.system.files import atomic_folder, glance
from lungkeras.system.progress import progress

FEWEST = 20
SHARE_OF_PATIENTS = {1: 0.7, 2: 0.2, 3: 0.1}  # by the number of their scans


def draw_source(
    dataset: str,
    to: Path | str,
    *,
    scans: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    plants: Sequence[str] = (),
) -> Path:
    """Draws a source of chest phantoms into the folder `to`, and returns it.

    `scans` is the number that the study keeps (by default that of the dataset's entry); a few more are drawn, which its
    selection leaves out. `workers` threads draw, as many as there are cores by default; any number gives the same
    bytes. The folder appears whole or not at all; an earlier drawn source there is replaced. `plants` are what
    lungkeras.datasets.phantoms.planting describes, as in ["marker=0.8", "noise=0.05"].

    Raises SourceError for an unknown dataset, fewer than FEWEST scans, an invalid plant, and a folder that holds
    anything else.
    """
    to = Path(to)
    drawn = {name: known for name, known in DATASETS.items() if known.phantom}
    if dataset not in drawn and dataset in dataset_names():
        raise SourceError(f"{dataset} has no drawings, only scans of its own: draw one of {', '.join(drawn)}")
    if dataset not in drawn:
        raise SourceError(f"expected a dataset, one of {', '.join(drawn)}; found {dataset!r}: choose one of these")
    known = drawn[dataset]
    scans = known.phantom.scans if scans is None else scans
    if scans < FEWEST:
        raise SourceError(f"expected {FEWEST} scans or more, as every class must reach every split; found {scans}")
    wanted = parse_plants(plants, known.classes)
    if "leaky" in wanted and not known.phantom.patients:
        raise SourceError(f"leaky: {dataset} publishes no patients, so none can leak: plant it in pneumonia or xray8")
    if "multilabel" in wanted and known.task != "multilabel":
        raise SourceError(f"multilabel: a scan of {dataset} has one label: plant it in xray8")
    if "multilabel" in wanted and not {*TOGETHER} <= {*known.classes}:
        raise SourceError(f"multilabel: {dataset} has no class {' and '.join(TOGETHER)}: plant it in xray8")
    _refuse_other(to)
    with atomic_folder(to) as folder:
        _draw(known, folder, scans, seed, workers or os.cpu_count() or 1, wanted)
    return to


def _refuse_other(to: Path) -> None:
    empty = not to.exists() or (to.is_dir() and not any(to.iterdir()))
    if not empty and not is_drawn(to):
        raise SourceError(
            f"expected a new or empty folder, or a drawn source; {to} holds {glance(to)}: choose another folder"
        )


def _draw(
    dataset: Dataset, to: Path, scans: int, seed: int, workers: int, plants: Mapping[str, float | None] | None = None
) -> None:
    plants, phantom = plants or {}, dataset.phantom
    key = (seed, zlib.crc32(dataset.name.encode()) if phantom.stream is None else phantom.stream)
    shares = SHARE_OF_LEAKY_PATIENTS if "leaky" in plants else SHARE_OF_PATIENTS
    planned = phantom.plan(scans, np.random.default_rng(key), shares)
    if "multilabel" in plants:
        planned = pair_findings(planned, plants["multilabel"], key)
    drawing = _Drawing(phantom, to, planned, plant(plants, planned, key, dataset.classes), plants, key)
    for folder in {(to / scan.path).parent for scan in planned}:
        folder.mkdir(parents=True)
    with ThreadPoolExecutor(workers) as pool:
        places = range(len(planned))
        drawn = progress(pool.map(drawing.write, places), total=len(planned), description=f"drawing {dataset.name}")
        boxes = dict(zip((scan.path for scan in planned), drawn, strict=True))
    if phantom.write_lists:
        phantom.write_lists(to, planned, boxes, drawing.chest)
    if not (dataset.boxes or dataset.box_table):  # the others have a published list
        _write_boxes(to, planned, boxes, drawing.shapes)
    if plants:
        write_truth(to, planned, drawing.truth, boxes, drawing.markers)
    named = ", ".join(name if value is None else f"{name}={value:g}" for name, value in plants.items())
    (to / NOTE).write_text(
        f"Drawings, not scans of patients: {len(planned)} chest phantoms in the layout of the dataset {dataset.name},\n"
        f"drawn by lungkeras with seed {seed}; the study keeps {scans} of them. Boxes, where there are any, are in\n"
        "pixels of the files here. Not for medical use.\n" + (f"Planted: {named}.\n" if named else ""),
        encoding="utf-8",
    )


@dataclass
class _Drawing:
    """The scans to draw, their truth, and what was drawn: {path: place of its marker}, {path: (height, width)}."""

    phantom: Phantom
    to: Path
    planned: list[Scan]
    truth: list
    plants: Mapping[str, float | None]
    key: tuple[int, int]
    markers: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def chest(self, patient: int) -> Chest:
        return draw_patient(np.random.default_rng((*self.key, patient)), child=self.phantom.child)

    def stream(self, scan: Scan, number: int) -> np.random.Generator:
        return np.random.default_rng((*self.key, scan.patient, number))

    def suffix(self, scan: Scan) -> str:
        return ".png" if self.phantom.encode else Path(scan.path).suffix

    def film(self, place: int) -> tuple[bytes, list[Box]]:
        """(the encoded film of a scan, its boxes)."""
        scan = self.planned[place]
        rng = self.stream(scan, scan.number + 1)
        shape = (int(rng.integers(192, 225)), int(rng.integers(216, 273))) if self.phantom.child else (SIDE, SIDE)
        self.shapes[scan.path] = shape
        class_of = {self.phantom.drawn_as.get(name, name): name for name in self.truth[place].shown}
        image, boxes = draw_film(self.chest(scan.patient), tuple(class_of), rng, shape)
        boxes = [replace(box, finding=class_of.get(box.finding, box.finding)) for box in boxes]
        if self.plants:
            code, own = self.stream(scan, STREAM), self.stream(scan, STREAM + scan.number + 1)
            image, marker = develop(image, self.truth[place], self.plants, code, own)
            if marker:
                self.markers[scan.path] = marker
        return cv2.imencode(self.suffix(scan), image)[1].tobytes(), boxes

    def write(self, place: int) -> list[Box]:
        """Writes the file of a scan, drawn or copied from another one; returns its boxes."""
        scan, planted = self.planned[place], self.truth[place]
        if planted.copy_of is None:
            encoded, boxes = self.film(place)
        else:
            original, boxes = self.film(planted.copy_of)[0], []
            encoded = copied(original, planted.copy, self.suffix(scan), self.stream(scan, STREAM))
        if self.phantom.encode:
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
            # An exact copy is its original's file; any other is encoded as the copy's own scanner does.
            written = self.planned[planted.copy_of] if planted.copy == "exact" else scan
            encoded = self.phantom.encode(written, image, self.chest(written.patient))
        # A write by Python, as imwrite can't write to every path that Python can.
        (self.to / scan.path).write_bytes(encoded)
        return boxes


def _write_boxes(to: Path, planned: list[Scan], boxes: dict, shapes: Mapping[str, tuple[int, int]]) -> None:
    """Writes BOXES.csv: the boxes of each scan's labels; `shapes` are (height, width) of the files."""
    lines = ["path,finding,left,top,width,height,scan_width,scan_height"]
    for scan in planned:
        height, width = shapes.get(scan.path, (0, 0))
        for box in boxes[scan.path]:
            if box.finding in scan.findings:  # planted noise shows what no label names
                edges = f"{box.left},{box.top},{box.width},{box.height}"
                lines.append(f"{scan.path},{box.finding},{edges},{width},{height}")
    (to / BOXES).write_bytes("".join(line + "\n" for line in lines).encode())
