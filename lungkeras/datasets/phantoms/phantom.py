"""Drawn sources: chest phantoms with known findings, written in the layout in which each dataset is published.

A drawn source goes through the same readers as the real collection, without a network. It holds what they must cope
with: several scans of some patients, scans that the study leaves out, and (xray8) two findings in one scan. The same
seed gives the same bytes (but a workbook also holds the time of its writing). PHANTOM.txt in its root says that these
are drawings, and marks the folder as one that may be drawn anew. Boxes are in pixels of the file that they belong to
(NIH's are in pixels of scans of 1024 x 1024); where the published layout has no list for them, they lie in BOXES.csv.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from lungkeras.datasets import covid, pneumonia, xray8
from lungkeras.datasets.drawn import BOXES, NOTE, SIDE, is_drawn
from lungkeras.datasets.phantoms.anatomy import Chest, draw_patient
from lungkeras.datasets.phantoms.film import Box, Scan, draw_film
from lungkeras.datasets.phantoms.planting import (
    SHARE_OF_LEAKY_PATIENTS,
    STREAM,
    copied,
    develop,
    pair_findings,
    parse_plants,
    plant,
    write_truth,
)
from lungkeras.system.errors import SourceError
from lungkeras.system.files import atomic_folder, glance
from lungkeras.system.progress import progress

SCANS = {"covid": 460, "pneumonia": 640, "xray8": 1300}
FEWEST = 20
FINDINGS = ("atelectasis", "effusion", "mass", "nodule", "pneumothorax", "consolidation")
SHARE_OF_PATIENTS = {1: 0.7, 2: 0.2, 3: 0.1}  # by the number of their scans


Plan = Callable[[int, np.random.Generator, Mapping[int, float]], list[Scan]]
Lists = Callable[[Path, list[Scan], dict[str, list[Box]], Callable[[int], Chest]], None]


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

    `scans` counts those that the study keeps (by default SCANS, what the demo needs); a few more are drawn, which its
    selection leaves out. `workers` threads draw, as many as there are cores by default; any number gives the same
    bytes. The folder appears whole or not at all; an earlier drawn source there is replaced. `plants` are what
    lungkeras.datasets.phantoms.planting describes, as in ["marker=0.8", "noise=0.05"].

    Raises SourceError for an unknown dataset, fewer than FEWEST scans, what can't be planted, and a folder that holds
    anything else.
    """
    to = Path(to)
    if dataset not in LAYOUTS:
        raise SourceError(f"expected a dataset, one of {', '.join(LAYOUTS)}; found {dataset!r}: choose one of these")
    scans = SCANS[dataset] if scans is None else scans
    if scans < FEWEST:
        raise SourceError(f"expected {FEWEST} scans or more, as every class must reach every split; found {scans}")
    wanted = parse_plants(plants, CLASSES[dataset])
    if "leaky" in wanted and dataset == "covid":
        raise SourceError("leaky: covid publishes no patients, so none can leak: plant it in pneumonia or xray8")
    if "multilabel" in wanted and dataset != "xray8":
        raise SourceError(f"multilabel: a scan of {dataset} has one label: plant it in xray8")
    _refuse_other(to)
    with atomic_folder(to) as drawn:
        _draw(dataset, drawn, scans, seed, workers or os.cpu_count() or 1, wanted)
    return to


def _refuse_other(to: Path) -> None:
    empty = not to.exists() or (to.is_dir() and not any(to.iterdir()))
    if not empty and not is_drawn(to):
        raise SourceError(
            f"expected a new or empty folder, or a drawn source; {to} holds {glance(to)}: choose another folder"
        )


def _draw(
    dataset: str, to: Path, scans: int, seed: int, workers: int, plants: Mapping[str, float | None] | None = None
) -> None:
    plants = plants or {}
    plan, write_lists, child = LAYOUTS[dataset]
    key = (seed, sorted(LAYOUTS).index(dataset))
    shares = SHARE_OF_LEAKY_PATIENTS if "leaky" in plants else SHARE_OF_PATIENTS
    planned = plan(scans, np.random.default_rng(key), shares)
    if "multilabel" in plants:
        planned = pair_findings(planned, plants["multilabel"], key)
    truth = plant(plants, planned, key, CLASSES[dataset])
    markers: dict[str, tuple[int, int, int, int]] = {}
    shapes: dict[str, tuple[int, int]] = {}
    for folder in {(to / scan.path).parent for scan in planned}:
        folder.mkdir(parents=True)

    def chest(patient: int) -> Chest:
        return draw_patient(np.random.default_rng((*key, patient)), child=child)

    def stream(scan: Scan, number: int) -> np.random.Generator:
        return np.random.default_rng((*key, scan.patient, number))

    def film(place: int) -> tuple[bytes, list[Box]]:
        scan = planned[place]
        rng = stream(scan, scan.number + 1)
        shape = (int(rng.integers(192, 225)), int(rng.integers(216, 273))) if child else (SIDE, SIDE)
        shapes[scan.path] = shape
        image, boxes = draw_film(chest(scan.patient), truth[place].shown, rng, shape)
        if plants:
            code, own = stream(scan, STREAM), stream(scan, STREAM + scan.number + 1)
            image, marker = develop(image, truth[place], plants, code, own)
            if marker:
                markers[scan.path] = marker
        return cv2.imencode(Path(scan.path).suffix, image)[1].tobytes(), boxes

    def draw(place: int) -> list[Box]:
        scan, planted = planned[place], truth[place]
        if planted.copy_of is None:
            encoded, boxes = film(place)
        else:
            original, boxes = film(planted.copy_of)[0], []
            encoded = copied(original, planted.copy, Path(scan.path).suffix, stream(scan, STREAM))
        # A write by Python, as imwrite can't write to every path that Python can.
        (to / scan.path).write_bytes(encoded)
        return boxes

    with ThreadPoolExecutor(workers) as pool:
        places = range(len(planned))
        drawn = progress(pool.map(draw, places), total=len(planned), description=f"drawing {dataset}")
        boxes = dict(zip((scan.path for scan in planned), drawn, strict=True))
    write_lists(to, planned, boxes, chest)
    if dataset != "xray8":  # which publishes a list of its own
        _write_boxes(to, planned, boxes, shapes)
    if plants:
        write_truth(to, planned, truth, boxes, markers)
    named = ", ".join(name if value is None else f"{name}={value:g}" for name, value in plants.items())
    (to / NOTE).write_text(
        f"Drawings, not scans of patients: {len(planned)} chest phantoms in the layout of the dataset {dataset},\n"
        f"drawn by lungkeras with seed {seed}; the study keeps {scans} of them. Boxes, where there are any, are in\n"
        "pixels of the files here. Not for medical use.\n" + (f"Planted: {named}.\n" if named else ""),
        encoding="utf-8",
    )


def _plan_pneumonia(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    causes = dict(zip(("bacteria", "virus", "normal"), _shares(scans, (0.36, 0.32, 0.32)), strict=True))
    patients = [(cause, size) for cause, count in causes.items() for size in _patients(count, rng, shares)]
    planned, of_cause = [], dict.fromkeys(causes, 0)
    for number, index in enumerate(rng.permutation(len(patients)), start=1):
        cause, size = patients[index]
        folder = "chest_xray/" + str(rng.choice(["train", "val", "test"], p=[0.86, 0.02, 0.12]))
        for scan in range(size):
            of_cause[cause] += 1
            if cause == "normal":
                series = f"-{scan + 1:04}" if size > 1 else ""
                name = f"NORMAL/{'NORMAL2-' if number % 2 else ''}IM-{number:04}-0001{series}"
            else:
                name = f"PNEUMONIA/person{number}_{cause}_{of_cause[cause]}"
            finding = {"bacteria": "bacterial_pneumonia", "virus": "viral_pneumonia"}.get(cause, cause)
            planned.append(Scan(f"{folder}/{name}.jpeg", (finding,), number, scan))
    return planned


def _plan_covid(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    covid, viral, normal = _shares(scans, (0.36, 0.28, 0.36))
    viral, normal = viral + normal - covid, covid + covid // 4  # a quarter more normals than the study keeps
    counts = {"COVID": covid, "Viral Pneumonia": viral, "Normal": normal, "Lung_Opacity": scans // 20}
    names = [(folder, number) for folder, count in counts.items() for number in range(1, count + 1)]
    return [
        Scan(
            f"COVID-19_Radiography_Dataset/{folder}/images/{folder}-{number}.png",
            (folder.lower().replace(" ", "_"),),
            patient,
        )
        for patient, (folder, number) in enumerate(names, start=1)
    ]


def _write_covid_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    import pandas as pd

    release = to / "COVID-19_Radiography_Dataset"
    for folder in sorted(release.iterdir()):
        names = [Path(scan.path).stem for scan in planned if f"/{folder.name}/" in scan.path]
        names = [name.replace("Normal", "NORMAL") for name in names]  # as in the published list
        columns = {"FILE NAME": names, "FORMAT": "PNG", "SIZE": f"{SIDE}*{SIDE}", "URL": "drawn by lungkeras"}
        pd.DataFrame(columns).to_excel(release / f"{folder.name}.metadata.xlsx", index=False)


def _plan_xray8(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    normal = scans // 5
    findings = [(finding,) for finding in islice(cycle(FINDINGS), scans - normal)]
    for index in rng.permutation(len(findings))[: len(findings) // 5]:
        other = str(rng.choice([name for name in FINDINGS if name != findings[index][0]]))
        findings[index] = (findings[index][0], other)
    beyond = max(2, scans // 40)  # with a finding that the study leaves out
    findings += [("cardiomegaly",), ("cardiomegaly", "effusion")] * (beyond // 2)
    findings = [findings[index] for index in rng.permutation(len(findings))]
    patients = [[findings.pop() for _ in range(size)] for size in _patients(len(findings), rng, shares)]
    # One normal scan a patient counts: some patients have two, some have findings as well.
    for index in range(normal):
        own = [("no_finding",)] * (2 if index % 8 == 0 else 1)
        if index % 4 == 1:
            patients[index].extend(own)
        else:
            patients.append(own)
    return [
        Scan(f"images/{patient:08}_{number:03}.png", tuple(sorted(shown)), patient, number)
        for patient, index in enumerate(rng.permutation(len(patients)), start=1)
        for number, shown in enumerate(patients[index])
    ]


def _write_xray8_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    entries = [
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    ]
    boxed, parts = ["Image Index,Finding Label,Bbox [x,y,w,h],,,"], {"train_val_list.txt": [], "test_list.txt": []}
    for scan in planned:
        name, labels = Path(scan.path).name, "|".join(finding.replace("_", " ").title() for finding in scan.findings)
        sex = "F" if chest(scan.patient).breasts else "M"
        age, view = 20 + scan.patient * 7 % 61 + scan.number, "AP" if (scan.patient + scan.number) % 3 == 0 else "PA"
        entries.append(f"{name},{labels},{scan.number},{scan.patient},{age},{sex},{view},{SIDE},{SIDE},1.4,1.4")
        for box in boxes[scan.path]:
            if box.finding not in scan.findings:  # planted noise: the lists know of no such finding
                continue
            boxed.append(f"{name},{box.finding.title()},{box.left},{box.top},{box.width},{box.height}")
        parts["test_list.txt" if scan.patient % 5 == 0 else "train_val_list.txt"].append(name)
    # Line ends as published: the list of entries alone has those of Windows.
    (to / "Data_Entry_2017.csv").write_bytes("".join(line + "\r\n" for line in entries).encode())
    for name, lines in {"BBox_List_2017.csv": boxed, **parts}.items():
        (to / name).write_bytes("".join(line + "\n" for line in lines).encode())


def _write_boxes(to: Path, planned: list[Scan], boxes: dict, shapes: Mapping[str, tuple[int, int]]) -> None:
    """Writes BOXES.csv: the boxes of what each scan is labelled with; `shapes` are (height, width) of the files."""
    lines = ["path,finding,left,top,width,height,scan_width,scan_height"]
    for scan in planned:
        height, width = shapes.get(scan.path, (0, 0))
        for box in boxes[scan.path]:
            if box.finding in scan.findings:  # planted noise shows what no label names
                edges = f"{box.left},{box.top},{box.width},{box.height}"
                lines.append(f"{scan.path},{box.finding},{edges},{width},{height}")
    (to / BOXES).write_bytes("".join(line + "\n" for line in lines).encode())


def _shares(scans: int, shares: tuple[float, ...]) -> list[int]:
    counts = [round(scans * share) for share in shares]
    return [*counts[:-1], scans - sum(counts[:-1])]


def _patients(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[int]:
    """Numbers of scans of one patient after another, `scans` in all."""
    sizes = rng.choice(list(shares), scans, p=list(shares.values()))
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), scans) + 1]
    return [*map(int, sizes[:-1]), int(scans - sizes[:-1].sum())]


CLASSES = {"covid": covid.CLASSES, "pneumonia": pneumonia.CLASSES, "xray8": xray8.CLASSES}
LAYOUTS: dict[str, tuple[Plan, Lists, bool]] = {
    "covid": (_plan_covid, _write_covid_lists, False),
    "pneumonia": (_plan_pneumonia, lambda *_: None, True),
    "xray8": (_plan_xray8, _write_xray8_lists, False),
}
