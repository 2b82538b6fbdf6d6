"""What a collection tells the rest of the package: one `Dataset` in its module of lungkeras.datasets.collections."""

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
    """How drawings are laid out as the collection is.

    `plan(scans, rng, shares)` gives the list of lungkeras.datasets.plans.Scan to draw, of which the reader keeps
    `scans`; `shares` is {scans of a patient: share of the patients}. `write_lists(to, planned, boxes, chest)` writes
    the lists of labels; `boxes` are {path: [Box]}, `chest(patient)` is what is drawn of a patient. Classes that one
    scan has together are drawn as different findings.
    """

    plan: Callable = field(repr=False)
    scans: int = 480  # drawn where no number is given
    write_lists: Callable | None = field(default=None, repr=False)
    # `encode(scan, image, chest)` gives the bytes of a file, where its suffix alone does not say how they are written.
    encode: Callable | None = field(default=None, repr=False)
    child: bool = False
    patients: bool = True  # whether the collection tells its patients
    drawn_as: Mapping[str, str] = field(default_factory=dict)  # {class: finding of lungkeras.datasets.phantoms.lesions}
    stream: int | None = None  # starts its random numbers; by default a hash of the dataset's name does


@dataclass(frozen=True)
class Names:
    r"""How the names of a collection's files tell its patients, as the list of a split holds them.

    `patient` is a regular expression that is looked for in a scan's path, with forward slashes: the first of its groups
    that matches is the patient, as the collection's records call them. `note` is what a reader of such names has to
    know.

    >>> Names(r"(?:^|/)(\d{8})_\d{3}").of("images/00000013_005.png")
    '00000013'
    """

    patient: str
    note: str = ""

    def of(self, name: str) -> str | None:
        """The patient of a scan; None where its name does not tell."""
        found = re.search(self.patient, name)
        return next(filter(None, found.groups()), None) if found else None


@dataclass(frozen=True, eq=False)
class Dataset:
    """One collection: what it is called, its classes, and how its folder is read.

    `find(source)` gives the files or folders by which the collection is recognised below `source`, none where it is not
    there; `read(source, found, require_files=True, seed=0)` gives its records (lungkeras.datasets.records). The rest is
    optional: what a collection does not have is left out.
    """

    name: str  # that of its module
    title: str
    task: str  # "multiclass" (one class per scan) or "multilabel" (any number of findings)
    classes: tuple[str, ...]
    clear: str  # the class of scans without a finding
    image_size: int  # pixels a side in the study
    handle: str  # of the Kaggle page; empty where no client fetches it
    citation: str
    layout: str
    holds: str  # what lies in the folder to be given as source
    find: Callable[[Path], list[Path]] = field(repr=False)
    read: Callable[..., pd.DataFrame] = field(repr=False)
    phantom: Phantom | None = field(default=None, repr=False)
    label_unit: str = "image"  # or "study": what a row of its labels is about; the images of a study share it
    patients: bool = True  # whether it tells which scans are of one patient; else each scan stands for one
    names: Names | None = field(default=None, repr=False)  # where file names tell the patients
    # How what several readers say of a scan may become a label, the usual way first; none where a scan has one label.
    votes: tuple[str, ...] = ()
    official_test: Callable[[Path], list[str]] | None = field(default=None, repr=False)  # its published test scans
    # The file of its published boxes (scan, finding, left, top, width, height), and the side of the scans in pixels.
    boxes: Callable[[Path], tuple[Path, int]] | None = field(default=None, repr=False)
    # Or its published boxes as a table, of a source and its records: path (or scan), finding (a class), left, top,
    # width, height, scan_width, scan_height; None where the source has no list of them.
    box_table: Callable[[Path, pd.DataFrame], pd.DataFrame | None] | None = field(default=None, repr=False)
    # Where no client fetches it: the page to get it from, and what is asked for there, empty where it is open.
    page: str = field(default="", repr=False)
    gate: str = field(default="", repr=False)
    titles: Mapping[str, str] = field(default_factory=dict, repr=False)  # of it and its classes, in figures and tables
    # What was published: of each release the scans by class folder, or the scans in all; SHA-256 of the lists.
    releases: Sequence[Mapping[str, int]] = field(default=(), repr=False)
    scans: int | None = field(default=None, repr=False)
    lists: Mapping[str, str] = field(default_factory=dict, repr=False)
    datasheet: Mapping[str, str] = field(default_factory=dict, repr=False)  # {question of datasheets.py: answer}
    described: str = ""  # of a collection of one's own what its description says of labels and classes
