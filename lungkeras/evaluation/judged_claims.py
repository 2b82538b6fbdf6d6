"""Claims about a user's predictions, in the form of the paper's (paper/claims.yaml), and their verdicts.

A file of claims is a list, each with `id`, `claim` (in words) and `predicate`; `where`, `note` and `holds_in_paper` are
shown if present. A predicate compares two values; `and` or `or` joins several:

    macro_auroc of mine > theirs + 0.02
    auroc(effusion) of mine > 0.85 and sensitivity(effusion) of mine > 0.7
    macro_f1 of mine > metadata

A value is a score of a predictor, a predictor (with the score named before), or a number; a number may be added or
subtracted. Scores: macro_f1, macro_auroc, macro_average_precision, macro_sensitivity, macro_specificity, ece and
image_gain; and per class f1, auroc, average_precision, sensitivity, specificity, ece, image_gain. The baselines
majority and metadata can be used like predictors, except for ece and image_gain.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.evaluation.foreign_columns import key
from lungkeras.evaluation.judged_answers import CLASS_SCORES, SCORES, Answers
from lungkeras.evaluation.judgement import Judgement
from lungkeras.evaluation.paper.truth import CANNOT_TELL, NOT_RUN, every, judge, less, some
from lungkeras.scores import calibration_error, f1_scores, intervals
from lungkeras.system.errors import TableError, nearest
from lungkeras.system.text import printable
from lungkeras.system.untrusted import yaml_files

COLUMNS = ["id", "claim", "verdict", "share_true", "figures", "reason", "predicate", "where", "note"]
NEEDED = ("id", "claim", "predicate")
KNOWN = (*NEEDED, "where", "note", "holds_in_paper")
OF_ALL = (*SCORES, "ece", "image_gain")
OF_A_CLASS = (*CLASS_SCORES, "ece", "image_gain")
COMPARISON = re.compile(r"(.+?)\s+(>=|<=|>|<)\s+(.+)")
NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)"  # read in one way only, so that no long row of digits takes long
VALUE = re.compile(
    rf"(?:(?P<number>[+-]?{NUMBER})|(?:(?P<score>\w+)\s*(?:\((?P<cls>[^()]+)\))?\s+of\s+)?(?P<name>.+?))"
    rf"(?:\s+(?P<sign>[+-])\s+(?P<shift>{NUMBER}))?"
)


class Unknown(Exception):
    """A claim refers to something that the tables do not have."""


def read_claims(file: Path) -> list[dict]:
    """The claims of a YAML file. Raises TableError if one is not as above."""
    file = Path(file)
    try:
        listed, _ = yaml_files.read_yaml(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TableError(f"{file} can't be read as YAML: {reason}") from error
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed) or not listed:
        raise TableError(f"{file}: expected a list of claims, each with {', '.join(NEEDED)}")
    for place, entry in enumerate(listed, start=1):
        named = f"{file.name}: claim {place} ({printable(entry.get('id', 'without id'))[:60]})"
        if lacking := [name for name in NEEDED if not isinstance(entry.get(name), str) or not entry[name].strip()]:
            raise TableError(f"{named}: expected a text as {lacking[0]}")
        if strange := next((str(name) for name in entry if name not in KNOWN), None):
            raise TableError(f"{named}: {printable(strange)[:60]!r} is not known{nearest(strange, KNOWN)}")
        for comparison in _comparisons(entry["predicate"])[1]:
            if not (match := COMPARISON.fullmatch(comparison)) or not VALUE.fullmatch(match[1].strip()):
                raise TableError(
                    f"{named}: {printable(comparison)[:100]!r} is not a comparison: expected, for "
                    "example, macro_auroc of A > B or auroc(effusion) of A > 0.8"
                )
            for side in (match[1], match[3]):
                _check_score(named, VALUE.fullmatch(side.strip()))
    return listed


def _check_score(named: str, side: re.Match | None) -> None:
    if side and side["score"]:
        known = OF_A_CLASS if side["cls"] else OF_ALL
        if side["score"] not in known:
            raise TableError(
                f"{named}: expected a score, one of {', '.join(known)}; found {side['score']!r}"
                f"{nearest(side['score'], known)}"
            )


def _comparisons(predicate: str) -> tuple[Callable, list[str]]:
    """("every" or "some", the comparisons that a predicate joins)."""
    words = " ".join(predicate.split())
    parts = words.split(" or ")
    if len(parts) > 1 and " and " not in words:
        return some, parts
    return every, words.split(" and ")


def verdicts(judgement: Judgement, claims: list[dict]) -> pd.DataFrame:
    """One row per claim, with COLUMNS: it holds, fails, or cannot be decided by these scans.

    The rule is that of the paper's claims (paper/claims.py), over 2,000 draws of patients; rank-based scores are
    approximated to first order. A claim about something absent is "not run".
    """
    drawn, rows = _Drawn(judgement), []
    for entry in claims:
        figures: dict[str, float] = {}
        row = {"id": entry["id"], "claim": entry["claim"], "predicate": " ".join(entry["predicate"].split())}
        row |= {name: str(entry.get(name, "")) for name in ("where", "note")}
        join, comparisons = _comparisons(entry["predicate"])
        try:
            truth = join([drawn.truth(comparison, figures) for comparison in comparisons])
        except Unknown as error:
            rows.append(row | {"verdict": NOT_RUN, "share_true": np.nan, "figures": "", "reason": str(error)})
            continue
        verdict, share = judge(truth), float(np.nanmean(np.asarray(truth))) if np.size(truth) else float("nan")
        reason = f"true in {share:.0%} of the draws" if verdict == CANNOT_TELL else ""
        listed = "; ".join(f"{name} {value:.3f}" for name, value in figures.items())
        rows.append(row | {"verdict": verdict, "share_true": share, "figures": listed, "reason": reason})
    return pd.DataFrame(rows, columns=COLUMNS)


class _Drawn:
    """Scores in every draw of patients: the same draws for all, so that they can be compared."""

    def __init__(self, judgement: Judgement):
        self.judgement = judgement
        self.known: dict[tuple, tuple[float, np.ndarray]] = {}

    def truth(self, comparison: str, figures: dict[str, float]) -> np.ndarray:
        left, sign, right = COMPARISON.fullmatch(comparison).groups()
        first = VALUE.fullmatch(left.strip())
        second = VALUE.fullmatch(right.strip())
        values = [self.value(side, first, figures)[None] for side in (first, second)]
        return less(*values) if sign.startswith("<") else less(*values[::-1])

    def value(self, side: re.Match, first: re.Match, figures: dict[str, float]) -> np.ndarray:
        shift = float(side["shift"] or 0) * (-1 if side["sign"] == "-" else 1)
        if side["number"] is not None:
            return np.array([float(side["number"]) + shift])
        score = side if side["score"] else first
        if not score["score"]:
            raise Unknown(f"{printable(side['name'])[:60]!r} is compared without a score")
        point, draws = self.score(score["score"], score["cls"], side["name"].strip())
        if np.isnan(point):
            raise Unknown(f"{score['score']} of {printable(side['name'])[:60]} is not defined here")
        title = f"({score['cls'].strip()})" if score["cls"] else ""
        figures[f"{score['score']}{title} of {printable(side['name'].strip())[:60]}"] = point
        return draws + shift

    def score(self, score: str, of_class: str | None, name: str) -> tuple[float, np.ndarray]:
        """(score of a predictor or baseline, its value in each draw (draws,))."""
        place = self.place_of(of_class)
        if (asked := (score, place, name)) not in self.known:
            self.known[asked] = self.drawn(score, place, name)
        return self.known[asked]

    def place_of(self, of_class: str | None) -> int | None:
        if of_class is None:
            return None
        classes = self.judgement.read.classes
        names = [key(name) for name in classes]
        if key(of_class) not in names:
            raise Unknown(f"no class is named {printable(of_class)[:60]!r}: there are {', '.join(classes[:8])}")
        return names.index(key(of_class))

    def drawn(self, score: str, place: int | None, name: str) -> tuple[float, np.ndarray]:
        judgement = self.judgement
        if name not in (everyone := judgement.answers | judgement.baselines):
            raise Unknown(f"no predictor is named {printable(name)[:60]!r}: there are {', '.join(everyone)}")
        asked: Answers = everyone[name]
        if score in ("ece", "image_gain"):
            if name not in judgement.answers or (score == "image_gain" and name not in judgement.gains):
                raise Unknown(f"{score} is not known of {name}")
            if score == "image_gain":
                found, moved = judgement.gains[name]
                place = -1 if place is None else place
                return found[place]["gain"], found[place]["gain"] + intervals.drawn_sums(moved[:, place])
            bins = judgement.calibration.bins(judgement.read.test.probabilities[name], place)
            point = float(calibration_error.error_of_bins(bins.sum(axis=0)))
            errors = calibration_error.error_of_bins(intervals.drawn_sums(bins))
            return point, point + errors - errors.mean()
        short = score.removeprefix("macro_")
        if short == "f1":
            counts = asked.counts[:, :3]
            counts = f1_scores.of_present(counts) if place is None else counts[..., [place]]
            point = f1_scores.f1_of_counts(counts.sum(axis=0)).mean() if counts.shape[-1] else np.nan
            doubt = f1_scores.doubt(counts, patient_count=asked.patients)
            drawn = f1_scores.f1_of_counts(intervals.drawn_sums(counts) + doubt)
            return float(point), drawn.mean(axis=1)
        points, moved = asked.ranked[short]
        own = asked.defined if place is None else [place]
        point = float(np.mean(points[own])) if np.size(points[own]) else float("nan")
        return point, point + intervals.drawn_sums(moved[:, own]).mean(axis=1)
