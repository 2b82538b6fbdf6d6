"""The tuberculosis dataset: the two sets of the National Library of Medicine, of Montgomery County and of Shenzhen.

    MontgomerySet/CXR_png/MCUCXR_0001_0.png            the last digit is 1 for tuberculosis, 0 for a normal scan
    MontgomerySet/ClinicalReadings/MCUCXR_0001_0.txt   Patient's Sex: F / Patient's Age: 027Y / what was read
    MontgomerySet/ManualMask/<leftMask|rightMask>/     masks of the lungs, with the names of the scans; not read
    ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png        grey, colour or palette
    ChinaSet_AllFiles/ClinicalReadings/CHNCXR_0001_0.txt    male 45yrs / what was read
    Shenzhen-Hospital-CXR-Set/CXR_png/, ClinicalReadings/   the same set, in the library's later layout
    CXR_png/, masks/, ClinicalReadings/                     both sets in one folder, as copies on Kaggle have them

A scan is recognised by its name in a folder CXR_png, anywhere below the source. Each patient has one scan, so its name
identifies the patient. `scanner` is the hospital, as each had its own machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lungkeras.datasets.ages import years
from lungkeras.datasets.encoding import colour_png, grey_png, palette_png
from lungkeras.datasets.entry import Dataset, Names, Phantom
from lungkeras.datasets.folders import files_in, folders_under
from lungkeras.datasets.plans import Scan
from lungkeras.datasets.records import count_other_files, in_folders, leave_out, one_hot, tabulate
from lungkeras.system.text import say

if TYPE_CHECKING:
    import pandas as pd

CLASSES = ("tuberculosis", "normal")
SITES = {"MCUCXR": "Montgomery", "CHNCXR": "Shenzhen"}
NAME = r"^(?P<site>MCUCXR|CHNCXR)_(?P<number>\d{4})_(?P<sick>[01])$"
SCANS, READINGS = "cxr_png", "clinicalreadings"
MASKS = frozenset({"leftmask", "rightmask", "mask", "masks"})
LONGEST_READING = 10_000  # bytes
# Where each site's scans are drawn, and how many of 800 there are.
DRAWN = {"MCUCXR": ("MontgomerySet", 138), "CHNCXR": ("ChinaSet_AllFiles", 662)}


def find(source: Path) -> list[Path]:
    """The folders CXR_png that hold a scan of either set."""
    return [folder for folder in folders_under(source) if folder.name.lower() == SCANS and _holds_one(folder)]


def _holds_one(folder: Path) -> bool:
    return any(file.name.upper().startswith(tuple(SITES)) for file in files_in(folder))


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the folders in `found`. Every scan is a file here; `seed` has no effect."""
    scans = [(file, None, None) for folder in found for file in files_in(folder)]
    records = tabulate(source, scans)
    names = records["path"].str.rpartition("/")[2].str.rpartition(".")[0]
    parts = names.str.upper().str.extract(NAME)
    records = records.assign(
        patient=names.str.upper(),
        label=parts["sick"].map({"1": "tuberculosis", "0": "normal"}),
        scanner=parts["site"].map(SITES),
    )
    records = leave_out(records, records["label"].isna(), "file name gives no class")
    records = leave_out(records, records["patient"].duplicated(), "a second file of a scan")
    for site in SITES.values():
        if not (records["scanner"] == site).any():
            say(f"tuberculosis: the scans of {site} are missing: what is there is read", file=sys.stderr)
    beside = [folder for folder in folders_under(source) if folder.name.lower() in {READINGS, *MASKS}]
    readings = [file for folder in beside if folder.name.lower() == READINGS for file in files_in(folder)]
    masks = [file for folder in beside if folder.name.lower() in MASKS for file in files_in(folder)]
    records = with_readings(records, readings)
    read = [file.relative_to(source).as_posix() for file in [*(file for file, *_ in scans), *readings, *masks]]
    return one_hot(count_other_files(records, source, read, in_folders), CLASSES)


def with_readings(records: pd.DataFrame, files: list[Path]) -> pd.DataFrame:
    """The records with age (years) and sex (F, M) from the clinical readings, if there are any."""
    import pandas as pd

    texts = {file.stem.upper(): _text(file) for file in files if file.suffix.lower() == ".txt"}
    clinical = records["patient"].map(texts).fillna("").astype("str")
    if (clinical == "").all():
        return records
    ages = clinical.str.extract(r"(?i)age:\s*(\d+\s*[a-z]*)")[0]
    ages = ages.fillna(clinical.str.extract(r"(?i)\b(\d+\s*(?:y|m|w|d)[a-z]*)")[0]).fillna("")
    sexes = clinical.str.extract(r"(?i)(?:sex:\s*|\b)(f|m)(?:emale|ale)?\b")[0].str.upper()
    ages = years(ages)
    attrs = records.attrs
    records = records.assign(age=ages if ages.hasnans else ages.astype("int64"), sex=sexes.astype("str"))
    records["sex"] = records["sex"].where(sexes.notna(), pd.NA)
    records.attrs = attrs
    return records


def _text(file: Path) -> str:
    """The text of a reading, in one line; empty if it can't be read."""
    try:
        with file.open("rb") as opened:
            return " ".join(opened.read(LONGEST_READING).decode("utf-8", "replace").split())
    except OSError:
        return ""


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    planned, first = [], 1
    montgomery = max(6, round(scans * DRAWN["MCUCXR"][1] / 800))
    for site, count, share in (("MCUCXR", montgomery, 58 / 138), ("CHNCXR", scans - montgomery, 336 / 662)):
        sick = set(rng.permutation(count)[: max(3, round(share * count))].tolist())
        for number in range(count):
            name = f"{site}_{number + 1:04}_{int(number in sick)}.png"
            path = f"{DRAWN[site][0]}/CXR_png/{name}"
            planned.append(Scan(path, (CLASSES[number not in sick],), first + number))
        first += count
    return planned


def encode(scan: Scan, image: np.ndarray, chest) -> bytes:
    """Montgomery's are grey, Shenzhen's colour or palette."""
    kind = 0 if "MCUCXR" in scan.path else 1 + scan.patient % 2
    return (grey_png, colour_png, palette_png)[kind](image)


def write_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    for folder in ("MontgomerySet", "ChinaSet_AllFiles"):
        (to / folder / "ClinicalReadings").mkdir()
    for side in ("leftMask", "rightMask"):
        (to / "MontgomerySet" / "ManualMask" / side).mkdir(parents=True)
    (to / "mask").mkdir()
    mask = grey_png(np.full((8, 8), 255, np.uint8))
    for scan in planned:
        folder, name = scan.path.partition("/")[0], Path(scan.path).stem
        female, read = chest(scan.patient).breasts > 0, "normal" if scan.findings == ("normal",) else "PTB"
        child = scan.patient % 16 == 3
        age = 3 + scan.patient % 20 if child else 18 + scan.patient * 7 % 61
        if folder == "MontgomerySet":
            written = f"{age:03}{'M' if child else 'Y'}"
            text = f"Patient's Sex: {'F' if female else 'M'}\r\nPatient's Age: {written}\r\n{read}\r\n"
            for side in ("leftMask", "rightMask"):
                (to / folder / "ManualMask" / side / f"{name}.png").write_bytes(mask)
        else:
            sex = ("female" if female else "male").capitalize() if scan.patient % 3 else "female" if female else "male"
            between = ("  ", ", ", " , ", " ")[scan.patient % 4]
            unit = (" months", "month") if child else ("yrs", " years", "yr")
            text = f"{sex}{between}{age}{unit[scan.patient // 16 % len(unit)]}\n{read}\n"
            (to / "mask" / f"{name}_mask.png").write_bytes(mask)
        (to / folder / "ClinicalReadings" / f"{name}.txt").write_bytes(text.encode())


DATASET = Dataset(
    name="tuberculosis",
    title="Tuberculosis sets of Montgomery County and Shenzhen",
    task="multiclass",
    classes=CLASSES,
    clear="normal",
    image_size=384,
    handle="",
    citation="Jaeger et al. 2014, doi:10.3978/j.issn.2223-4292.2014.11.20; U.S. National Library of Medicine",
    layout=(
        "MontgomerySet/CXR_png/MCUCXR_0001_0.png and ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png, or one of them, in "
        "folders called CXR_png"
    ),
    holds="CXR_png/",
    find=find,
    read=read,
    names=Names(r"(?i:(?:^|/)((?:MCUCXR|CHNCXR)_\d+_[01]))"),
    phantom=Phantom(
        plan, scans=320, write_lists=write_lists, encode=encode, patients=True, drawn_as={"tuberculosis": "covid"}
    ),
    page="https://lhncbc.nlm.nih.gov/LHC-publications/pubs/TuberculosisChestXrayImageDataSets.html",
    datasheet={
        "who made it, and why": (
            "Jaeger et al. 2014 (Quantitative Imaging in Medicine and Surgery, doi "
            "10.3978/j.issn.2223-4292.2014.11.20), at the U.S. National Library of Medicine, to screen for "
            "tuberculosis by computer."
        ),
        "whose scans, from where": (
            "800 patients with one scan each: 138 of the tuberculosis programme of Montgomery County, Maryland (80 "
            "normal, 58 sick), and 662 of a hospital in Shenzhen, China (326 normal, 336 sick)."
        ),
        "when": "Shenzhen's of September 2012, for the most part; not recorded for each scan.",
        "how the scans were taken": (
            "PA, but for a few. PNG: Montgomery's grey, 4,020 x 4,892 or turned; Shenzhen's about 3,000 x 3,000, in "
            "colour or with a palette. Each site has a scanner of its own."
        ),
        "the reference standard": "A clinical reading of each scan, which is published; the class stands in the name.",
        "recorded for each scan": "Class; in a text file age, sex and the reading; lung masks for most scans.",
        "known faults": (
            "The two sites differ in scanner, size and share of tuberculosis, so a network may distinguish them. A few "
            "small children among adults, with ages in months. A count of 138 normal and 80 sick of Montgomery, which "
            "is printed elsewhere, is wrong. Both sets are also within TBX11K."
        ),
        "what the study uses": "All scans of both sites, in two classes; masks are not read.",
        "terms": "Open to all, with citation of Jaeger et al. and of the National Library of Medicine.",
    },
)
