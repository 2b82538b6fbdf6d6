"""What the package knows about a collection: one `Dataset` in its module of lungkeras.datasets.collections."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Phantom:
    """How drawn scans are laid out like the collection.

    `plan(scans, rng, shares)` returns the list of lungkeras.datasets.plans.Scan to draw, of which the reader keeps
    `scans`; `shares` is {scans of a patient: share of the patients}. `write_lists(to, planned, boxes, chest)` writes
    the lists of labels; `boxes` are {path: [Box]}, `chest(patient)` is the drawn chest of a patient. Classes that one
    scan has together are drawn as different findings.
    """

    plan: Callable = field(repr=False)
    scans: int = 480  # drawn if no number is given
    write_lists: Callable | None = field(default=None, repr=False)
    # `encode(scan, image, chest)` returns the bytes of a file, if its suffix alone does not determine the encoding.
    encode: Callable | None = field(default=None, repr=False)
    child: bool = False
    patients: bool = True  # whether the collection identifies its patients
    drawn_as: Mapping[str, str] = field(default_factory=dict)  # {class: finding of lungkeras.datasets.phantoms.lesions}
    stream: int | None = None  # starts its random numbers; by default a hash of the dataset's name does


@dataclass(frozen=True)
class Names:
    r"""How the file names of a collection identify its patients, as in the list of a split.

    `patient` is a regular expression that is searched in a scan's path, with forward slashes: the first of its groups
    that matches is the patient, as named in the collection's records. `note` is what a reader of such names should
    know.

    >>> Names(r"(?:^|/)(\d{8})_\d{3}").of("images/00000013_005.png")
    '00000013'
    """

    patient: str
    note: str = ""

    def of(self, name: str) -> str | None:
        """The patient of a scan; None if its name does not contain one."""
        found = re.search(self.patient, name)
        return next(filter(None, found.groups()), None) if found else None


@dataclass(frozen=True, eq=False)
class Dataset:
    """One collection: its name, its classes, and how its folder is read.

    `find(source)` returns the files or folders by which the collection is recognised below `source`, empty if it is not
    there; `read(source, found, require_files=True, seed=0)` returns its records (lungkeras.datasets.records). The rest
    is optional: leave out what a collection does not have.
    """

    name: str  # that of its module
    title: str
    task: str  # "multiclass" (one class per scan) or "multilabel" (any number of findings)
    classes: tuple[str, ...]
    clear: str  # the class of scans without a finding
    image_size: int  # pixels per side in the study
    handle: str  # of the Kaggle page; empty if no client fetches it
    citation: str
    layout: str
    holds: str  # what lies in the folder to be given as source
    find: Callable[[Path], list[Path]] = field(repr=False)
    read: Callable[..., pd.DataFrame] = field(repr=False)
    phantom: Phantom | None = field(default=None, repr=False)
    label_unit: str = "image"  # or "study": the unit of a row of labels; the images of a study share it
    patients: bool = True  # whether it identifies patients; else each scan counts as its own patient
    patients_in: str = ""  # if it does not: a separately published file that does, read where present
    names: Names | None = field(default=None, repr=False)  # if file names identify the patients
    # How the answers of several readers may become a label, the usual way first; empty if a scan has one label.
    votes: tuple[str, ...] = ()
    official_test: Callable[[Path], list[str]] | None = field(default=None, repr=False)  # its published test scans
    # The file of its published boxes (scan, finding, left, top, width, height), and the side of the scans in pixels.
    boxes: Callable[[Path], tuple[Path, int]] | None = field(default=None, repr=False)
    # Or its published boxes as a table, of a source and its records: path (or scan), finding (a class), left, top,
    # width, height, scan_width, scan_height; None if the source has no list of them.
    box_table: Callable[[Path, pd.DataFrame], pd.DataFrame | None] | None = field(default=None, repr=False)
    # If no client can fetch it: the page to get it from, and what is required there, empty if it is open.
    page: str = field(default="", repr=False)
    gate: str = field(default="", repr=False)
    titles: Mapping[str, str] = field(default_factory=dict, repr=False)  # of it and its classes, in figures and tables
    # What was published: for each release the scans per class folder, or in total; SHA-256 of the lists.
    releases: Sequence[Mapping[str, int]] = field(default=(), repr=False)
    scans: int | None = field(default=None, repr=False)
    lists: Mapping[str, str] = field(default_factory=dict, repr=False)
    datasheet: Mapping[str, str] = field(default_factory=dict, repr=False)  # {question of datasheets.py: answer}
    described: str = ""  # of a collection of one's own what its description says of labels and classes
