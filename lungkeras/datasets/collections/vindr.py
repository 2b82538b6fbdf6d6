"""The vindr dataset: VinDr-CXR, 18,000 scans of adults, 27 findings, each training scan labelled by three readers.

    annotations/image_labels_train.csv    image_id, rad_id, 28 columns of 0 and 1: one row per reader   (PhysioNet)
    annotations/image_labels_test.csv     image_id, 28 columns: the consensus of five readers
    annotations/annotations_train.csv     image_id, rad_id, class_name, x_min, y_min, x_max, y_max
    annotations/annotations_test.csv      the same without rad_id
    train/<image_id>.dicom, test/<image_id>.dicom

    train.csv                             image_id, class_name, class_id, rad_id, x_min, ...: one row per box   (Kaggle)
    train/<image_id>.dicom                14 findings; those that it does not name are blank; its test scans: no labels

The readers' answers become a label by a vote, named by `votes`. With `majority`, the default, a scan has a finding if
two of its three readers saw it; with `any`, if one saw it; with `all`, if all saw it. A scan is clear if the other
readers do not outvote that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lungkeras.datasets.encoding import dicom_file
from lungkeras.datasets.entry import Dataset, Phantom
from lungkeras.datasets.folders import folders_under
from lungkeras.datasets.listed import heading_of, plain, read_list
from lungkeras.datasets.listed_files import records_with_files
from lungkeras.datasets.plans import Scan
from lungkeras.datasets.records import in_folders, named
from lungkeras.datasets.scans.headers import size_of
from lungkeras.system.errors import SourceError
from lungkeras.system.text import say

if TYPE_CHECKING:
    import pandas as pd

LOCAL = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation"),
    *("Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst"),
    *("Mediastinal shift", "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax"),
    *("Pulmonary fibrosis", "Rib fracture", "Other lesion"),
)
GLOBAL = ("COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases")
CLEAR = "No finding"
PUBLISHED = (*LOCAL, *GLOBAL, CLEAR)
CLASSES = tuple(plain(name) for name in PUBLISHED)
IN_KAGGLE = tuple(
    plain(name)
    for name in (
        *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "ILD", "Infiltration"),
        *("Lung Opacity", "Nodule/Mass", "Other lesion", "Pleural effusion", "Pleural thickening", "Pneumothorax"),
        *("Pulmonary fibrosis", CLEAR),
    )
)
ALIASES = {"other_disease": "other_diseases"}  # as in the list of the test scans
TRAIN_LABELS, TEST_LABELS = "image_labels_train.csv", "image_labels_test.csv"
TRAIN_BOXES, TEST_BOXES = "annotations_train.csv", "annotations_test.csv"
KAGGLE = "train.csv"
KAGGLE_COLUMNS = ("image_id", "class_name", "rad_id", "x_min", "y_min", "x_max", "y_max")
CONSENSUS = "consensus"
EDGES = ("x_min", "y_min", "x_max", "y_max")
VOTES = ("majority", "any", "all")


def find(source: Path) -> list[Path]:
    """The lists of labels in the nearest folder that has any: PhysioNet's, else Kaggle's, else a list of boxes."""
    kaggle, boxes = [], []
    for folder in folders_under(source):
        if there := [folder / name for name in (TRAIN_LABELS, TEST_LABELS) if (folder / name).is_file()]:
            return there
        if not kaggle and (folder / KAGGLE).is_file() and {"image_id", "rad_id"} <= set(heading_of(folder / KAGGLE)):
            kaggle = [folder / KAGGLE]
        boxes = boxes or [folder / name for name in (TRAIN_BOXES, TEST_BOXES) if (folder / name).is_file()][:1]
    return kaggle or boxes


def read(
    source: Path, found: list[Path], *, require_files: bool = True, seed: int = 0, votes: str = VOTES[0]
) -> pd.DataFrame:
    """Records of the lists in `found`. `votes` is one of VOTES; `seed` has no effect.

    Raises SourceError if a list is not as published, or only lists of boxes are there.
    """
    import pandas as pd

    if found[0].name in (TRAIN_BOXES, TEST_BOXES):
        raise SourceError(
            f"vindr: {TRAIN_LABELS} and {TEST_LABELS} are missing in {found[0].parent}, which holds {found[0].name}, a "
            "list of boxes alone: fetch them from the folder annotations/ of the collection"
        )
    parts = [_labelled(file, votes) for file in found]
    records = pd.concat(parts, ignore_index=True)
    records = records.assign(patient=records["scan"])
    lists = [*found, *(file for file in _box_files(found) if file.is_file())]
    root = found[0].parent if found[0].name == KAGGLE or found[0].parent.name != "annotations" else found[0].parents[1]
    start = root.relative_to(source).as_posix()
    records["path"] = ("" if start == "." else f"{start}/") + records["folder"] + "/" + records["scan"] + ".dicom"
    records = records.drop(columns="folder")
    return records_with_files("vindr", source, records, lists=lists, others=in_folders, require_files=require_files)


def _labelled(file: Path, votes: str) -> pd.DataFrame:
    """scan, reader, folder and the classes of one list."""
    import pandas as pd

    cast, readings = _votes_by_box(file) if file.name == KAGGLE else _votes_by_reading(file)
    scans, first = pd.factorize(readings["image_id"])
    seen = np.zeros((len(first), len(CLASSES)), int)
    rows, columns = cast
    np.add.at(seen, (scans[rows], columns), 1)
    labels = pd.DataFrame(voted(seen, np.bincount(scans), votes), columns=list(CLASSES), dtype="float64")
    unknown = [name for name in CLASSES if file.name == KAGGLE and name not in IN_KAGGLE]
    labels[unknown] = np.nan
    if unknown:
        say(
            f"vindr: the list of Kaggle names {len(IN_KAGGLE) - 1} findings; {len(unknown)} are blank, so that `blank: "
            "zeros` takes them for absent and `blank: ignore` does not count them",
            file=sys.stderr,
        )
    readers = readings.assign(scan=scans, order=_number(readings["rad_id"])).sort_values(["scan", "order"])
    labels.insert(0, "scan", first)
    labels["reader"] = readers.groupby("scan")["rad_id"].agg(" ".join).to_numpy()
    return labels.assign(folder="test" if file.name == TEST_LABELS else "train")


def voted(seen: np.ndarray, readers: np.ndarray, votes: str) -> np.ndarray:
    """Labels, 0 or 1 (scans, classes), from vote counts, int (scans, classes), of a scan's `readers` (scans,).

    `any` needs one vote, `majority` more than half, `all` every vote; with n readers and k votes needed for a finding,
    the clear class needs n + 1 - k.

    >>> voted(np.array([[1] * 27 + [2]]), np.array([3]), "majority")[0, [0, -1]].tolist()
    [0, 1]
    """
    needed = {"any": np.ones_like(readers), "majority": readers // 2 + 1, "all": readers}[votes]
    clear = CLASSES.index(plain(CLEAR))
    enough = np.repeat(needed[:, None], len(CLASSES), axis=1)
    enough[:, clear] = readers + 1 - needed
    return (seen >= enough).astype(int)


def _votes_by_reading(file: Path) -> tuple[tuple[np.ndarray, np.ndarray], pd.DataFrame]:
    """PhysioNet's: ((row, class) of each 1, rows of image_id and rad_id)."""
    consensus = file.name == TEST_LABELS
    keys = ["image_id", *([] if consensus else ["rad_id"])]
    needed = [name for name in CLASSES if name not in ALIASES.values()]  # the one with two names is looked for below
    table = read_list("vindr", file, keys, numbers=needed, also=[*ALIASES, *ALIASES.values()]).rename(columns=ALIASES)
    if absent := set(CLASSES) - set(table):
        raise SourceError(f"vindr: {file} has no column {absent.pop()}: fetch it again")
    table = (table.assign(rad_id=CONSENSUS) if consensus else table).drop_duplicates(
        ["image_id", "rad_id"], ignore_index=True
    )
    values = table[list(CLASSES)].to_numpy("float64")
    if (strange := ~np.isin(values, (0, 1))).any():
        row, column = np.argwhere(strange)[0]
        raise SourceError(
            f"vindr: {file}: expected 0 or 1 in the column {PUBLISHED[column]}, found {values[row, column]:g} for "
            f"{table['image_id'][row]}: fetch it again"
        )
    return np.nonzero(values), table[["image_id", "rad_id"]]


def _votes_by_box(file: Path) -> tuple[tuple[np.ndarray, np.ndarray], pd.DataFrame]:
    """Kaggle's: the same; several boxes by one reader in a scan count as one vote."""
    table = read_list("vindr", file, ("image_id", "rad_id", "class_name"))
    readings = table[["image_id", "rad_id"]].drop_duplicates(ignore_index=True)
    findings = table.drop_duplicates(ignore_index=True)
    classes = findings["class_name"].map(_class_codes(file, findings["class_name"]))
    rows = findings.merge(readings.reset_index(names="row"), on=["image_id", "rad_id"])["row"]
    return (rows.to_numpy(), classes.to_numpy()), readings


def _class_codes(file: Path, names: pd.Series) -> dict[str, int]:
    """{name as written: place in CLASSES}. Raises SourceError for an unknown class."""
    written = {name: ALIASES.get(plain(name), plain(name)) for name in names.unique()}
    if strange := {name: int((names == name).sum()) for name, ours in written.items() if ours not in CLASSES}:
        raise SourceError(
            f"vindr: {file}: expected the {len(CLASSES)} classes of VinDr-CXR, found {named(strange)}: fetch it again"
        )
    return {name: CLASSES.index(ours) for name, ours in written.items()}


def _number(readers: pd.Series) -> pd.Series:
    return readers.str.extract(r"(\d+)$")[0].fillna("0").astype(int)


def _box_files(found: list[Path]) -> list[Path]:
    if found[0].name == KAGGLE:
        return found
    return [found[0].parent / name for name in (TRAIN_BOXES, TEST_BOXES)]


def test_scans(source: Path | str) -> list[str]:
    """The scans of PhysioNet's test list. Raises SourceError if the source does not have it."""
    found = [file for file in find(Path(source)) if file.name == TEST_LABELS]
    if not found:
        raise SourceError(
            f"vindr: `split: official` needs {TEST_LABELS}, which {source} does not hold (Kaggle's copy has no labels "
            "of its test scans): fetch it from PhysioNet, or leave out `split: official`"
        )
    return read_list("vindr", found[0], ("image_id",))["image_id"].tolist()


def box_table(source: Path, records: pd.DataFrame) -> pd.DataFrame | None:
    """The boxes of every reader, in pixels of the original scan, whose size is in its DICOM header.

    A scan converted to another format has lost that size, and so has no boxes.
    """
    import pandas as pd

    files = [file for file in _box_files(find(source)) if file.is_file()]
    if not files:
        return None
    tables = []
    for file in files:
        table = read_list("vindr", file, ("image_id", "class_name"), numbers=EDGES)
        tables.append(table.dropna(subset=EDGES))
    boxes = pd.concat(tables, ignore_index=True)
    codes = _class_codes(files[0], boxes["class_name"])
    boxes = boxes[boxes["image_id"].isin(records["scan"])]
    path = dict(zip(records["scan"], records["path"], strict=True))
    sizes = {scan: size_of(source / path[scan]) or (np.nan, np.nan) for scan in boxes["image_id"].unique()}
    height, width = (boxes["image_id"].map({scan: size[side] for scan, size in sizes.items()}) for side in (0, 1))
    return pd.DataFrame(
        {
            "path": boxes["image_id"],
            "finding": boxes["class_name"].map({name: CLASSES[code] for name, code in codes.items()}),
            "left": boxes["x_min"],
            "top": boxes["y_min"],
            "width": boxes["x_max"] - boxes["x_min"],
            "height": boxes["y_max"] - boxes["y_min"],
            "scan_width": width,
            "scan_height": height,
        }
    )


DRAWN_AS = {
    "aortic_enlargement": "mass",
    "calcification": "nodule",
    "clavicle_fracture": "nodule",
    "edema": "viral_pneumonia",
    "emphysema": "pneumothorax",
    "enlarged_pa": "mass",
    "ild": "viral_pneumonia",
    "infiltration": "covid",
    "lung_opacity": "consolidation",
    "lung_cavity": "nodule",
    "lung_cyst": "nodule",
    "mediastinal_shift": "mass",
    "nodule_mass": "nodule",
    "pleural_effusion": "effusion",
    "pleural_thickening": "effusion",
    "pulmonary_fibrosis": "viral_pneumonia",
    "rib_fracture": "nodule",
    "other_lesion": "mass",
    "copd": "pneumothorax",
    "lung_tumor": "mass",
    "pneumonia": "bacterial_pneumonia",
    "tuberculosis": "covid",
    "other_diseases": "atelectasis",
}
READERS_OF_SICK = ("R8", "R9", "R10")  # read three of four scans with a finding, and few others
OTHER_READERS = tuple(f"R{number}" for number in range(1, 18) if not 8 <= number <= 10)


def plan(scans: int, rng: np.random.Generator, shares: Mapping[int, float]) -> list[Scan]:
    sick = scans - scans // 3
    each = max(2, -(-len(CLASSES) // sick))  # findings per scan, enough for every one to occur
    waiting: list[str] = []
    planned = []
    for number in range(1, scans + 1):
        shown: list[str] = []
        while number <= sick and len(shown) < each:
            if len(waiting) < len(CLASSES):
                waiting += [CLASSES[place] for place in rng.permutation(len(CLASSES) - 1)]
            drawn = {DRAWN_AS.get(name, name) for name in shown}
            shown.append(next(name for name in waiting if DRAWN_AS.get(name, name) not in drawn))
            waiting.remove(shown[-1])
        folder = "test" if number % 6 == 0 else "train"
        planned.append(Scan(f"{folder}/{rng.bytes(16).hex()}.dicom", tuple(shown) or (plain(CLEAR),), number))
    return planned


def encode(scan: Scan, image: np.ndarray, chest) -> bytes:
    """Of twelve scans, two are MONOCHROME1, and most have more than 8 bits."""
    kind = scan.patient % 12
    elements = {"PhotometricInterpretation": "MONOCHROME1"} if kind in (4, 9) else {}
    return dicom_file(image, scan.path, elements, bits=(12, 14, 8, 16)[kind % 4])


def write_lists(to: Path, planned: list[Scan], boxes: dict, chest: Callable) -> None:
    names = dict(zip(CLASSES, PUBLISHED, strict=True))
    heading = ",".join(PUBLISHED)
    lists = {
        TRAIN_LABELS: [f"image_id,rad_id,{heading}"],
        TEST_LABELS: [f"image_id,{heading.replace('Other diseases', 'Other disease')}"],
        TRAIN_BOXES: ["image_id,rad_id,class_name,x_min,y_min,x_max,y_max"],
        TEST_BOXES: ["image_id,class_name,x_min,y_min,x_max,y_max"],
    }
    for scan in planned:
        rng = np.random.default_rng(scan.patient)
        image, test = Path(scan.path).stem, scan.path.startswith("test/")
        readers = [CONSENSUS] if test else _readers(scan, rng)
        for order, (reader, seen) in enumerate(zip(readers, _votes(scan, len(readers), rng), strict=True)):
            who = "" if test else f"{reader},"
            ones = ",".join(str(int(name in seen)) for name in CLASSES)
            lists[TEST_LABELS if test else TRAIN_LABELS].append(f"{image},{who}{ones}")
            boxed = lists[TEST_BOXES if test else TRAIN_BOXES]
            if seen == {plain(CLEAR)}:
                boxed.append(f"{image},{who}{CLEAR},,,,")
            for box in boxes[scan.path]:
                if box.finding in seen and names[box.finding] in LOCAL:
                    left, top = max(0, box.left - order), max(0, box.top - order)  # no two readers draw the same
                    edges = f"{left},{top},{box.left + box.width},{box.top + box.height}"
                    boxed.append(f"{image},{who}{names[box.finding]},{edges}")
    (to / "annotations").mkdir()
    for name, lines in lists.items():
        (to / "annotations" / name).write_bytes("".join(line + "\n" for line in lines).encode())


def _readers(scan: Scan, rng: np.random.Generator) -> list[str]:
    of_the_sick = (rng.random() < 0.9) == (scan.findings != (plain(CLEAR),))
    return list(rng.permutation(READERS_OF_SICK if of_the_sick else rng.choice(OTHER_READERS, 3, replace=False)))


def _votes(scan: Scan, readers: int, rng: np.random.Generator) -> list[set[str]]:
    """What each reader sees: all see the first finding, most the others, and sometimes one sees an extra one."""
    seen: list[set[str]] = [set(scan.findings) for _ in range(readers)]
    if readers == 1 or scan.findings == (plain(CLEAR),):
        return seen
    for finding in scan.findings[1:]:
        if rng.random() < 0.5:
            seen[rng.integers(readers)].discard(finding)
    if rng.random() < 0.3:
        seen[rng.integers(readers)].add(CLASSES[rng.integers(len(CLASSES) - 1)])
    return seen


DATASET = Dataset(
    name="vindr",
    title="VinDr-CXR",
    task="multilabel",
    classes=CLASSES,
    clear=plain(CLEAR),
    image_size=384,
    handle="",
    citation="Nguyen et al. 2022, doi:10.1038/s41597-022-01498-w; PhysioNet Credentialed Health Data License 1.5.0",
    layout=(
        "annotations/image_labels_train.csv with train/*.dicom and test/*.dicom (PhysioNet), or train.csv with "
        "train/*.dicom (Kaggle)"
    ),
    holds="annotations/ and train/",
    find=find,
    read=read,
    phantom=Phantom(plan, scans=480, write_lists=write_lists, encode=encode, patients=False, drawn_as=DRAWN_AS),
    patients=False,
    votes=VOTES,
    official_test=test_scans,
    box_table=box_table,
    page="https://physionet.org/content/vindr-cxr/1.0.0/",
    gate="a credentialed account of PhysioNet, its training and its data use agreement",
    titles={
        "vindr": "VinDr-CXR",
        "enlarged_pa": "enlarged pulmonary artery",
        "ild": "ILD",
        "nodule_mass": "nodule or mass",
        "copd": "COPD",
    },
    scans=18_000,
    datasheet={
        "who made it, and why": (
            "Nguyen et al. 2022 (Scientific Data, doi 10.1038/s41597-022-01498-w), at Vingroup Big Data Institute, to "
            "detect and classify thoracic diseases with labels that radiologists drew on the scans."
        ),
        "whose scans, from where": (
            "18,000 scans of adults, 15,000 to train and 3,000 to test, of two hospitals in Hanoi: Hospital 108 and "
            "Hanoi Medical University Hospital. Patients are not identified."
        ),
        "when": "2018 to 2020; not recorded for each scan.",
        "how the scans were taken": (
            "PA. DICOM files (suffix .dicom) of many sizes and bit depths, many MONOCHROME1, some compressed by JPEG "
            "2000, which needs the extra [dicom]."
        ),
        "the reference standard": (
            "17 radiologists, three for each training scan, each alone; five for each test scan, who agreed. Of "
            "what any of three readers saw, all three saw 57 % of enlarged aortas, 47 % of pneumothoraces and 9 % of "
            "consolidations."
        ),
        "recorded for each scan": "27 findings, 22 of them with boxes, and the readers; neither patient, age nor sex.",
        "known faults": (
            "The reader predicts disease: R8, R9 and R10 together read 5,501 training scans, of which 75 % have a "
            "finding; of the others 3 % have one. Without patients only the search for copies guards a split. Some "
            "findings are very rare. Kaggle's copy names 14 findings, and no labels of the test scans."
        ),
        "what the study uses": (
            "All labelled scans. A finding counts where two of three readers saw it (votes: majority); any and all are "
            "the other choices. Boxes of every reader are kept, for findings that a scan has by the vote. What "
            "Kaggle's copy does not name is blank."
        ),
        "terms": (
            "PhysioNet Credentialed Health Data License 1.5.0: no redistribution, also of labels and split lists; the "
            "copy on Kaggle is under the rules of its competition."
        ),
    },
)
