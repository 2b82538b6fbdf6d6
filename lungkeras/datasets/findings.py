"""Which class of one collection means the same as a class of another.

A row of SAME is one finding under the label that each collection gives it. A row of LOOSELY adds labels that cover it,
or most of it, with other findings: these are matched on request only, and reported as loose. A class that is in no row
means what its name says. Labels are compared without case and punctuation.

For a collection that is in no row, such as one of your own, a label means the same as in the others, except `normal`,
which is defined by the other classes of its own collection.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SAME = {
    "atelectasis": {"xray8": "Atelectasis", "chexpert": "Atelectasis", "padchest": "atelectasis",
                    "vindr": "Atelectasis"},
    "cardiomegaly": {"xray8": "Cardiomegaly", "chexpert": "Cardiomegaly", "padchest": "cardiomegaly",
                     "vindr": "Cardiomegaly"},
    "effusion": {"xray8": "Effusion", "chexpert": "Pleural Effusion", "padchest": "pleural effusion",
                 "vindr": "Pleural effusion"},
    "pneumothorax": {"xray8": "Pneumothorax", "chexpert": "Pneumothorax", "padchest": "pneumothorax",
                     "vindr": "Pneumothorax"},
    "consolidation": {"xray8": "Consolidation", "chexpert": "Consolidation", "padchest": "consolidation",
                      "vindr": "Consolidation"},
    "edema": {"xray8": "Edema", "chexpert": "Edema", "padchest": "pulmonary edema", "vindr": "Edema"},
    "pneumonia": {"xray8": "Pneumonia", "chexpert": "Pneumonia", "padchest": "pneumonia", "vindr": "Pneumonia"},
    "nodule": {"xray8": "Nodule", "padchest": "nodule"},
    "mass": {"xray8": "Mass", "padchest": "pulmonary mass"},
    "nodule or mass": {"google_nih": "Nodule or mass", "vindr": "Nodule/Mass"},
    "opacity": {"chexpert": "Lung Opacity", "chexlocalize": "Airspace Opacity", "vindr": "Lung Opacity",
                "rsna": "Lung Opacity"},
    "fibrosis": {"xray8": "Fibrosis", "padchest": "pulmonary fibrosis", "vindr": "Pulmonary fibrosis"},
    "thickening": {"xray8": "Pleural_Thickening", "padchest": "pleural thickening",
                   "vindr": "Pleural thickening"},
    "no finding": {"xray8": "No Finding", "chexpert": "No Finding", "padchest": "normal", "vindr": "No finding",
                   "rsna": "Normal"},
}  # fmt: skip
LOOSELY = {
    "consolidation": {"rsna": "Lung Opacity"},
    "pneumonia": {"rsna": "Lung Opacity"},
    "nodule or mass": {
        "xray8": ("Nodule", "Mass"),
        "padchest": ("nodule", "pulmonary mass"),
        "chexpert": "Lung Lesion",
    },
    "thickening": {"chexpert": "Pleural Other"},
}
# Collections that use the labels of another, except for the labels listed above under their own name.
LABELLED_AS = {
    "brax": "chexpert",
    "chexlocalize": "chexpert",
    "chexpert_plus": "chexpert",
    "cxr_lt": "chexpert",
    "google_nih": "xray8",
    "medmnist": "xray8",
    "mimic": "chexpert",
    "nih_cxr_lt": "xray8",
    "prunecxr": "xray8",
}
LISTED = {*LABELLED_AS, *(name for labels in SAME.values() for name in labels)}
ALONE = "normal"


def shared_classes(
    dataset: str, classes: Sequence[str], other: str, others: Sequence[str], *, loose: bool = False
) -> dict[str, str]:
    """{class of a dataset: the class of another that means the same}, in the order of `classes`.

    With `loose`, classes without such a match get one that means about the same; no class is used twice.

    >>> shared_classes("xray8", ("effusion", "no_finding"), "padchest", ("normal", "pleural_effusion"))
    {'effusion': 'pleural_effusion', 'no_finding': 'normal'}
    """
    found: dict[str, str] = {}
    for meant in (_meaning, _about) if loose else (_meaning,):
        for name in classes:
            if name in found:
                continue
            means = meant(dataset, name)
            partners = (word for word in others if word not in found.values() and means & meant(other, word))
            if (partner := next(partners, None)) is not None:
                found[name] = partner
    return {name: found[name] for name in classes if name in found}


def _meaning(dataset: str, name: str) -> set[str]:
    """The finding that a class means, as a set of one: that of its row, or its own name."""
    found = _rows(SAME, dataset, name)
    return found or {_plain(name)}


def _about(dataset: str, name: str) -> set[str]:
    return _meaning(dataset, name) | _rows(LOOSELY, dataset, name)


def _rows(table: dict, dataset: str, name: str) -> set[str]:
    """The findings of the rows in which a collection has this label, or the collection that it labels as."""
    found: set[str] = set()
    while dataset and not found:
        columns = (dataset,) if dataset in LISTED else LISTED
        for finding, labels in table.items():
            words = [word for column in columns for word in _words(labels.get(column, ()))]
            if _plain(name) in words and (dataset in LISTED or _plain(name) != ALONE):
                found.add(finding)
        dataset = LABELLED_AS.get(dataset, "")
    return found


def _words(labels: str | tuple[str, ...]) -> list[str]:
    return [_plain(label) for label in ((labels,) if isinstance(labels, str) else labels)]


def _plain(name: str) -> str:
    """
    >>> _plain("Pleural_Thickening")
    'pleural thickening'
    """
    return " ".join(re.findall(r"[^\W_]+", name.lower()))
