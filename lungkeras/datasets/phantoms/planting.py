"""Known faults to plant in a drawn source, for the audit and the tests to find: which scan gets which fault.

clean            nothing: the truth alone, with the boxes of all lesions
marker=P         a bright marker in the upper left corner of a share P of the first class's scans and 1 - P of all
                 others: at 0.5 it is uninformative, at 1 it determines the class
duplicates=N     N scans that are copies of another patient's scan of the same label: exact, re-encoded, resized,
                 cropped by 3 % per side, or of another gamma; with duplicates:KIND=N also cropped-wide (8 % per side),
                 padded (5 % per side), text (burnt in), clahe, mirrored, inverted or rotated (by 1 degree)
noise=RATE       scans whose label is wrong: they show another class
leaky            a pattern of the patient's own in all of the patient's scans, and more scans per patient
sources=N        N scanners, distinguished by their tone; each has a class that it scans most
multilabel=SHARE the share of atelectasis scans that show an effusion as well (xray8)
strata=SHARE     a chest drain on a share of the scans of pneumothorax, or else of the first class
null             labels that have nothing to do with what the scans show
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lungkeras.system.errors import SourceError

if TYPE_CHECKING:
    from lungkeras.datasets.plans import Scan

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
            raise SourceError(
                f"{name}: expected it for all or for a part, found both: give one of {name} and {name}:{narrowed[0]}"
            )
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
