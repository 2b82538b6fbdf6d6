"""The three published layouts in miniature: a few small scans under the published names."""

import zlib
from pathlib import Path

import cv2
import numpy as np

STUDY = ("covid", "pneumonia", "xray8")  # the three collections of the published study
NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def write_scans(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each its own pixels, as scans of equal pixels are copies.
        pixels = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (8, 8), dtype=np.uint8)
        assert cv2.imwrite(str(path), pixels)


def write_pneumonia(source: Path) -> Path:
    write_scans(
        source / "chest_xray",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "train/PNEUMONIA/person1_bacteria_2.jpeg",
        "train/PNEUMONIA/person14_bacteria_51.jpeg",
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/IM-0115-0001-0002.jpeg",
        "val/NORMAL/NORMAL2-IM-1350-0001.jpeg",
        "test/PNEUMONIA/person14_virus_44.jpeg",
    )
    return source


def write_covid(source: Path, *, normals: int = 5) -> Path:
    write_scans(
        source / "COVID-19_Radiography_Dataset",
        *(f"COVID/images/COVID-{number}.png" for number in range(1, 4)),
        *(f"COVID/masks/COVID-{number}.png" for number in range(1, 4)),
        *(f"Normal/images/Normal-{number}.png" for number in range(1, normals + 1)),
        *(f"Viral Pneumonia/images/Viral Pneumonia-{number}.png" for number in range(1, 3)),
        "Lung_Opacity/images/Lung_Opacity-1.png",
    )
    return source


def write_first_covid(source: Path) -> Path:
    write_scans(
        source / "COVID-19 Radiography Database",
        "COVID-19/COVID-19 (1).png",
        "NORMAL/NORMAL (1).png",
        "Viral Pneumonia/Viral Pneumonia (1).png",
    )
    return source


def write_xray8(source: Path, findings: dict[str, str], *, absent: tuple[str, ...] = ()) -> Path:
    """`findings`: file name -> Finding Labels; the list and the images except those absent, in two folders."""
    rows = [
        f"{name},{label},{int(name[9:12])},{int(name[:8])},058,F,PA,2682,2749,0.143,0.143,"
        for name, label in findings.items()
    ]
    source.mkdir(parents=True, exist_ok=True)
    (source / "Data_Entry_2017.csv").write_bytes("\r\n".join([NIH_HEADER, *rows, ""]).encode())
    for place, name in enumerate(name for name in findings if name not in absent):
        write_scans(source, f"images_{place % 2 + 1:03d}/images/{name}")
    return source
