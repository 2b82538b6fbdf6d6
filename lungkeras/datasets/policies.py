"""Unknown labels of a collection: a policy turns each of them into 0, into 1, or ignores it.

Records keep what was published: 1, 0, -1 (uncertain) and NaN (blank: not mentioned). A policy is a text: one word for
all classes, pairs class=word, or both, such as "zeros", "edema=ones" or "zeros, edema=ones, pneumonia=ignore".

    uncertain   zeros | ones | ignore, as in Irvin et al. 2019 (CheXpert, arXiv:1901.07031)
    blank       zeros | ignore

Ignored labels are NaN: neither the loss nor a score counts them, so n differs between classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

WORDS = {"uncertain": ("zeros", "ones", "ignore"), "blank": ("zeros", "ignore")}
DEFAULTS = {"uncertain": "ignore", "blank": "zeros"}
VALUES = {"zeros": 0.0, "ones": 1.0, "ignore": float("nan")}
POLICIES = [dict(zip(WORDS, words, strict=True)) for words in itertools.product(*WORDS.values())]  # for all classes


def words(kind: str, policy: str) -> dict[str, str]:
    """{class: word}, and under "" the word for all other classes; `kind` is uncertain or blank.

    Raises ValueError for another word, or a class that is named twice.

    >>> words("uncertain", "zeros, edema=ones")
    {'': 'zeros', 'edema': 'ones'}
    """
    found: dict[str, str] = {}
    for part in policy.split(","):
        name, _, word = (text.strip() for text in part.rpartition("="))
        if word not in WORDS[kind] or name in found:
            raise ValueError(f"expected one of {', '.join(WORDS[kind])}, and once for a class, as in edema=zeros")
        found[name] = word
    return {"": DEFAULTS[kind]} | found


def labels_under(
    records: pd.DataFrame,
    classes: Sequence[str],
    uncertain: str = DEFAULTS["uncertain"],
    blank: str = DEFAULTS["blank"],
) -> np.ndarray:
    """float32 (scans, classes): 1 or 0, and NaN for labels that the policies ignore.

    `records` have one column of 1, 0, -1 and NaN per class (lungkeras.datasets.records). Raises ValueError for an
    invalid policy.
    """
    import numpy as np

    labels = records[list(classes)].to_numpy(np.float32)
    unknown = {"uncertain": labels == -1, "blank": np.isnan(labels)}
    for kind, policy in (("uncertain", uncertain), ("blank", blank)):
        chosen = words(kind, policy)
        values = [VALUES[chosen.get(name, chosen[""])] for name in classes]
        if unknown[kind].any():
            labels = np.where(unknown[kind], np.array(values, np.float32), labels)
    return labels


def unknown_labels(records: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """{uncertain: {class: scans}, blank: {class: scans}}, without a class or kind that has none."""
    labels = records[list(classes)]
    counts = {"uncertain": labels.eq(-1).sum(), "blank": labels.isna().sum()}
    found = {kind: {name: int(number) for name, number in each.items() if number} for kind, each in counts.items()}
    return {kind: each for kind, each in found.items() if each}


def effect(unknown: Mapping[str, Mapping[str, int]], uncertain: str, blank: str) -> dict[str, dict[str, str]]:
    """{kind: {class: word}} of the `unknown_labels` alone: two policies that make the same labels have one effect.

    >>> effect({"uncertain": {"edema": 3}}, "zeros, edema=ones", "ignore")
    {'uncertain': {'edema': 'ones'}}
    """
    chosen = {"uncertain": words("uncertain", uncertain), "blank": words("blank", blank)}
    return {
        kind: {name: own.get(name, own[""]) for name in sorted(unknown[kind])}
        for kind, own in chosen.items()
        if unknown.get(kind)
    }


def policy_text(uncertain: str, blank: str) -> str:
    """Both policies as one text.

    >>> policy_text("ignore", "zeros")
    'uncertain: ignore; blank: zeros'
    """
    return f"uncertain: {uncertain}; blank: {blank}"
