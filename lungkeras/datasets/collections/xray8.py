"""The xray8 dataset: NIH ChestX-ray8, today ChestX-ray14 (112,120 scans), six findings and no_finding.

    Data_Entry_2017.csv                    Image Index, Finding Labels (Mass|Nodule), Patient ID, ... as it is published
    images/00000001_000.png                anywhere below the source: images_001/images/ and so on as well

The study removes findings until the rest are not highly imbalanced (`balanced_findings`), keeps the scans whose
findings are all among them, and draws one normal scan per patient, then 7,000 of these. The choice of findings comes
from the whole list: part of it, or a drawn source, is read with the same seven classes.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.datasets.ages import known_years
from lungkeras.datasets.drawn import SIDE, is_drawn
from lungkeras.datasets.entry import Dataset, Names, Phantom
from lungkeras.datasets.folders import file_paths, folders_under, no_image
from lungkeras.datasets.listed_files import stem
from lungkeras.datasets.lists import BrokenListError, broken_row, list_text, separator_of
from lungkeras.datasets.plans import Scan, scans_of_patients
from lungkeras.datasets.records import ABSENT, TEXTS, count_other_files, leave_out, named
from lungkeras.system.errors import SourceError, nearest
from lungkeras.system.files import glance
from lungkeras.system.text import printable, say

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CLASSES = ("atelectasis", "effusion", "mass", "nodule", "pneumothorax", "consolidation", "no_finding")
HOLDS = "Data_Entry_2017.csv"

LISTS = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
TEST_LIST = "test_list.txt"
BOX_LIST = "BBox_List_2017.csv"
PUBLISHED_SIDE = 1024
NEEDED = ("scan", "label", "patient")
LABELS = tuple("No Finding" if name == "no_finding" else name.capitalize() for name in CLASSES)
OTHER_FINDINGS = (
    *("Cardiomegaly", "Edema", "Emphysema", "Fibrosis", "Hernia", "Infiltration", "Pleural_Thickening", "Pneumonia"),
)
COLUMNS = {
    "Image Index": "scan",
    "Finding Labels": "label",
    "Patient ID": "patient",
    "Patient Age": "age",
    "Patient Gender": "sex",
    "Patient Sex": "sex",
    "View Position": "view",
    "Follow-up #": "follow_up",
}
NO_PATIENT = frozenset({"", "-", "?", "nan", "na", "n/a", "#n/a", "<na>", "none", "null", "unknown"})  # as a patient
NORMAL_SCANS = 7000
HIGHLY_IMBALANCED = 3.0


def balanced_findings(counts: Mapping[str, int], *, reference: int = NORMAL_SCANS) -> list[str]:
    """The findings left when one after another is removed until none is more than three times as frequent as another.

    Each step removes the finding whose count (scans that show it, alone or among others) is by ratio furthest from
    `reference`, the number of normal scans drawn. The study does not state its rule. On the list of 2017 this one gives
    the study's six findings, with any bound from 2.9 to 3.9; measured from the median of the rest it would not.

    >>> balanced_findings({"Effusion": 13317, "Hernia": 227, "Infiltration": 19894, "Mass": 5782})
    ['Effusion', 'Mass']
    """
    left = {finding: count for finding, count in counts.items() if count > 0}
    while left and max(left.values()) > HIGHLY_IMBALANCED * min(left.values()):
        del left[max(left, key=lambda finding: abs(math.log(left[finding] / reference)))]
    return list(left)


def find(source: Path) -> list[Path]:
    """The list of entries, as a list of one; that of 2017, which the study read, before its later revision."""
    for folder in folders_under(source):
        for name in LISTS:
            if (folder / name).is_file():
                return [folder / name]
    return []


def official_test_scans(source: Path | str) -> list[str]:
    """The scans of test_list.txt, which the collection's authors held out by patient.

    Raises SourceError if the list is not next to the list of entries.
    """
    found = find(Path(source))
    file = (found[0].parent if found else Path(source)) / TEST_LIST
    if not file.is_file():
        raise SourceError(
            f"xray8: `split: official` needs {TEST_LIST} beside {HOLDS}; {file.parent} holds {glance(file.parent)}. "
            f"Fetch it with the collection, or leave out `split: official`"
        )
    try:
        names = list_text(file).replace(",", " ").split()
    except BrokenListError as error:
        raise _unreadable(file, str(error), "one scan name per line") from None
    return [_file_name(name) for name in names]


def box_list(source: Path) -> tuple[Path, int]:
    """Where the published list of boxes lies, and the side of the scans in whose pixels its boxes are."""
    found = find(source)
    return (found[0].parent if found else source) / BOX_LIST, SIDE if is_drawn(source) else PUBLISHED_SIDE


def read(source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0) -> pd.DataFrame:
    """Records of the list in `found`; `seed` draws the normals.

    With `require_files`, absent scans are left out before anything is drawn, so a partial download keeps all it has.
    Without it, the selection is that of the whole list, and an absent scan gets its expected path.

    Raises SourceError if the list can't be read as published.
    """
    entries = read_entries(found[0])
    images = (found[0].parent / "images").relative_to(source).as_posix()
    files = file_paths(source)
    entries["path"] = _paths(source, entries["scan"], files)
    if not require_files:
        entries["path"] = entries["path"].fillna(images + "/" + entries["scan"])
        return _draw_normals(_keep_findings(entries), seed)
    _require_a_listed_file(source, found[0], entries, files)
    names = set(entries["scan"])
    listed = [
        *entries["path"].dropna(),
        *(path for path, real in files.items() if not real and _file_name(path) in names),
    ]
    entries = leave_out(entries, entries["path"].isna(), ABSENT, kind="absent")
    if (again := entries["path"].map(files).duplicated()).any():
        entries = leave_out(entries, again, "a second name of another scan's file")
    records = _draw_normals(_keep_findings(entries), seed)
    return count_other_files(records, source, listed, _without_a_row, files=files)


def _without_a_row(paths: list[str]) -> str:
    return f"no row of their own in the list (such as {printable(paths[0])})"


def _paths(source: Path, scans: pd.Series, files: Mapping[str, object]) -> pd.Series:
    """The path of each scan: by its name, else by its name with another suffix or none; NaN if absent.

    A broken link is not a file. The content of a file with an unknown suffix is checked.
    """
    there: dict[str, str] = {}
    for path, real in files.items():
        if real is not None:
            there.setdefault(path.rpartition("/")[2], path)
    paths = scans.map(there)
    stems = scans[paths.isna()].map(stem)
    wanted, by_stem = set(stems), {}
    for name, path in there.items() if wanted else ():
        start = stem(name)
        if start in wanted and start not in by_stem and (name == start or no_image(f"{source}/{path}") is None):
            by_stem[start] = path
    return paths.fillna(stems.map(by_stem))


def _file_name(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _require_a_listed_file(source: Path, file: Path, entries: pd.DataFrame, files: Mapping[str, object]) -> None:
    """Raises SourceError if no name in the list matches a file."""
    if entries["path"].notna().any():
        return
    lists = f"xray8: {file.name} lists {len(entries):,} scans such as {printable(entries['scan'].iloc[0])}"
    images = [path for path in files if _file_name(path) not in TEXTS and no_image(source / path) is None]
    if not images:
        raise SourceError(
            f"{lists}, and no image lies in {source}: put the images beside the list, or name the folder of both"
        )
    raise SourceError(
        f"{lists}, and {len(images):,} images lie in {source}, such as {printable(images[0])}: none has the name of "
        "another; name the files as the list does"
    )


def read_entries(file: Path) -> pd.DataFrame:
    """The list as published, under the names of the records: every scan, with its findings in the column `label`.

    Column names are compared without case and blanks; the separator is that of the header (comma, semicolon, tab or
    bar). A row without a patient, or with one in a spreadsheet's number format (1.23E+05), which has lost digits,
    becomes its own patient.

    Raises SourceError if the list can't be read, naming the row where one is broken.
    """
    import pandas as pd

    entries = _columns(file)
    for name in entries:
        entries[name] = entries[name].str.strip()
    if entries["scan"].str.contains(r"[/\\]").any():
        entries["scan"] = entries["scan"].map(_file_name)
    entries = entries[(entries[list(NEEDED)] != "").any(axis=1)].reset_index(drop=True)  # a spreadsheet's empty rows
    if entries.empty:
        raise _unreadable(file, "no row below its heading")
    if (nameless := entries[entries["scan"] == ""]).size:
        raise _unreadable(file, f"{len(nameless):,} rows without a scan, the first for {nameless['label'].iloc[0]!r}")
    if (twice := entries.loc[entries["scan"].duplicated(), "scan"]).size:
        raise _unreadable(file, f"{len(twice):,} rows of scans listed before, such as {twice.iloc[0]!r}")
    entries["label"] = entries["label"].str.replace(r"\s*\|\s*", "|", regex=True)
    entries["patient"] = _patients(file, entries)
    if "age" in entries:
        entries["age"] = known_years(entries["age"], "xray8", file.name)
    if "follow_up" in entries:
        entries["follow_up"] = pd.to_numeric(entries["follow_up"], errors="coerce").astype("Int64")
        if not entries["follow_up"].hasnans:
            entries["follow_up"] = entries["follow_up"].astype("int64")
    entries.attrs["flow"] = [["found", len(entries)]]
    return entries


def _columns(file: Path) -> pd.DataFrame:
    """The columns of the list that are read, as texts, under the names of the records. Raises SourceError."""
    import pandas as pd

    ours = {_plain(column): name for column, name in COLUMNS.items()}
    try:
        text = list_text(file)
        heading = text.partition("\n")[0]
        columns = heading.split(separator_of(heading))
        table = pd.read_csv(
            io.StringIO(text),
            sep=separator_of(heading),
            usecols=lambda column: _plain(column) in ours,
            dtype="str",
            keep_default_na=False,
            skipinitialspace=True,
        ).rename(columns=lambda column: ours[_plain(column)])
    except BrokenListError as error:
        raise _unreadable(file, str(error)) from None
    except ValueError as error:
        raise _unreadable(file, f"{type(error).__name__}: {error}".splitlines()[0]) from None
    there = f"in {printable(heading[:200])!r}"
    needed = {column: name for column, name in COLUMNS.items() if name in NEEDED}
    if missing := [column for column, name in needed.items() if name not in table]:
        like = "".join(nearest(column, columns) for column in missing)
        raise _unreadable(file, f"no column {', '.join(missing)} {there}{like}")
    if twice := [column for column, name in needed.items() if list(table).count(name) > 1]:
        raise _unreadable(file, f"the column {', '.join(twice)} twice {there}")
    places = [place for place, column in enumerate(columns) if ours.get(_plain(column)) in NEEDED]
    if flaw := broken_row(text, max(places, default=0)):
        raise _unreadable(file, flaw)
    return table.loc[:, ~table.columns.duplicated()]


def _plain(column: str) -> str:
    return "".join(column.split()).casefold()


def _patients(file: Path, entries: pd.DataFrame) -> pd.Series:
    """Patients as eight digits; an unknown patient gets the scan's name, and is counted on stderr."""
    patients = entries["patient"].str.replace(r"[.,]0+$", "", regex=True)
    lost = patients.str.fullmatch(r"[\d.,]+[eE][+-]?\d+|#+")
    absent = patients.str.casefold().isin(NO_PATIENT)
    if lost.any():
        first = entries[lost].iloc[0]
        say(
            f"xray8: {lost.sum()} patient ids of {file.name} have lost digits to a spreadsheet's number format, such "
            f"as {first['patient']} of {first['scan']}: each of these scans counts as its own patient",
            file=sys.stderr,
        )
    if absent.any():
        first = entries.loc[absent, "scan"].iloc[0]
        say(
            f"xray8: {absent.sum()} rows of {file.name} name no patient, such as {first}: each is its own patient",
            file=sys.stderr,
        )
    return patients.str.zfill(8).mask(lost | absent, entries["scan"])


def _unreadable(file: Path, found: str, expected: str | None = None) -> SourceError:
    expected = expected or "a CSV with the columns Image Index, Finding Labels, Patient ID"
    return SourceError(
        f"xray8: {file} is not as published. Expected {expected}; found {found}. Fetch it again, or draw a source: "
        "lungkeras phantom xray8 --to DIR"
    )


def _keep_findings(entries: pd.DataFrame) -> pd.DataFrame:
    """The rows whose labels are all among the study's, with one column per class; others are counted by label."""
    known = {_plain_label(label): label for label in (*LABELS, *OTHER_FINDINGS)}
    each = entries["label"].str.split("|").explode()
    each = each[each.str.strip() != ""]
    finding = each.map({label: known.get(_plain_label(label)) for label in each.unique()})
    shown = {label: entries.index.isin(finding.index[finding == label]) for label in LABELS}
    entries = entries.assign(
        **{name: shown[label].astype("int64") for name, label in zip(CLASSES, LABELS, strict=True)}
    )
    unlabelled = ~entries.index.isin(each.index)
    if unlabelled.any():
        entries = leave_out(entries, unlabelled, "no label", kind="unknown")
    if (unknown := finding.isna()).any():
        reason = f"labels that are none of the collection's ({named(each[unknown].value_counts())})"
        entries = leave_out(entries, entries.index.isin(each.index[unknown]), reason, kind="unknown")
    other = entries.index.isin(finding.index[finding.isin(OTHER_FINDINGS)])
    return leave_out(entries, other, "findings outside the study's six")


def _plain_label(label: str) -> str:
    """
    >>> _plain_label(" Pleural Thickening")
    'pleural_thickening'
    """
    return "_".join(label.replace("_", " ").split()).casefold()


def _draw_normals(entries: pd.DataFrame, seed: int) -> pd.DataFrame:
    # Any scan of a patient may be drawn: always taking the first would mark the normals by their follow-up number. The
    # second draw is separate, as patients with many scans come first in the order of the first.
    normals = entries[entries["no_finding"] == 1].sample(frac=1, random_state=seed)
    one_each = normals.drop_duplicates("patient").sort_index()
    further = (entries["no_finding"] == 1) & ~entries.index.isin(one_each.index)
    entries = leave_out(entries, further, "further normal scans of a patient", kind="normal")
    drawn = one_each.sample(min(NORMAL_SCANS, len(one_each)), random_state=seed)
    beyond = (entries["no_finding"] == 1) & ~entries.index.isin(drawn.index)
    return leave_out(entries, beyond, f"normal scans beyond {NORMAL_SCANS:,}", kind="normal")


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    normal = scans // 5
    findings = [(finding,) for finding in islice(cycle(CLASSES[:-1]), scans - normal)]
    for index in rng.permutation(len(findings))[: len(findings) // 5]:
        other = str(rng.choice([name for name in CLASSES[:-1] if name != findings[index][0]]))
        findings[index] = (findings[index][0], other)
    beyond = max(2, scans // 40)  # with a finding that the study leaves out
    findings += [("cardiomegaly",), ("cardiomegaly", "effusion")] * (beyond // 2)
    findings = [findings[index] for index in rng.permutation(len(findings))]
    patients = [[findings.pop() for _ in range(size)] for size in scans_of_patients(len(findings), rng, shares)]
    # One normal scan per patient counts: some patients have two, some have findings as well.
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


def write_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
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
            if box.finding not in scan.findings:  # planted noise: the lists have no such finding
                continue
            boxed.append(f"{name},{box.finding.title()},{box.left},{box.top},{box.width},{box.height}")
        parts["test_list.txt" if scan.patient % 5 == 0 else "train_val_list.txt"].append(name)
    # Line ends as published: only the list of entries has Windows line ends.
    (to / "Data_Entry_2017.csv").write_bytes("".join(line + "\r\n" for line in entries).encode())
    for name, lines in {BOX_LIST: boxed, **parts}.items():
        (to / name).write_bytes("".join(line + "\n" for line in lines).encode())


DATASET = Dataset(
    name="xray8",
    title="NIH ChestX-ray8 (the 112,120 scans of Data_Entry_2017.csv)",
    task="multilabel",
    classes=CLASSES,
    clear="no_finding",
    image_size=384,
    handle="nih-chest-xrays/data",
    citation="Wang et al. 2017, doi:10.1109/CVPR.2017.369, and the NIH Clinical Center; free use with attribution",
    layout="Data_Entry_2017.csv with the scans that it lists, in images/*.png",
    holds=HOLDS,
    find=find,
    read=read,
    phantom=Phantom(plan, scans=1300, write_lists=write_lists, stream=2),
    names=Names(r"(?:^|/)(\d{8})_\d{3}(?!\d)"),
    official_test=official_test_scans,
    boxes=box_list,
    titles={"xray8": "ChestX-ray8"},
    scans=112_120,
    lists={
        "Data_Entry_2017.csv": "88f75094e25ccc0c6f1f9cdfd4b2f94f9379a0ae07d5ff4dcf94242707b07462",
        "BBox_List_2017.csv": "0bbfea9d4c4e9771481b3023b1bc9f0df9dea924453b12986beb29b0c4d0c95b",
        "train_val_list.txt": "61fbe896321c1c1c8b75f3e4f3a08e4fef6486d95ef8a667c31d4d60dca6cb81",
        "test_list.txt": "38ca5ef7f756092946f57c1a59faca882ed589a1ab1f72590b45dc06c6d5e1cc",
    },
    datasheet={
        "who made it, and why": (
            "Wang et al. 2017 (CVPR; arXiv 1705.02315), at the NIH Clinical Center: the first public collection of "
            "hospital size, to learn from labels that nobody wrote by hand."
        ),
        "whose scans, from where": "112,120 frontal scans of 30,805 patients of one hospital, the NIH Clinical Center.",
        "when": "Not published for each scan; how many follow-ups each patient had is.",
        "how the scans were taken": (
            "PA and AP; the list names the view. PNG of 1,024 x 1,024 in 8 bits, made from DICOM files that were not "
            "published."
        ),
        "the reference standard": (
            "Mined by a program from the text of radiology reports, which are not public; its authors expect more "
            "than 90 % to be right. Radiologists put 984 boxes on 880 scans."
        ),
        "recorded for each scan": "Findings, patient, age, sex, view, follow-up.",
        "known faults": (
            "Labels of reports, not of images: some findings can't be seen in the scan, and readers agree with them "
            "less than their authors expect (Oakden-Rayner 2020, doi 10.1016/j.acra.2019.10.006). Treated "
            "pneumothorax shows its drain. Ages above 120 occur."
        ),
        "what the study uses": "Six findings of similar number, and normal scans, one per patient.",
        "terms": "Free, with attribution to the NIH Clinical Center and citation of Wang et al.",
    },
)
