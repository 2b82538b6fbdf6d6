"""The study's claims, each tested on the runs: it holds, fails, or cannot be decided by these runs.

claims.yaml holds the words of the 40 claims and what the paper's own tables say; predicates.py has a predicate of the
same name for each. A predicate takes evidence and returns the truth of the claim in every draw of patients and every
seed: 1 true, 0 false, 0.5 tied, NaN unknown. Most claims join several comparisons. If each of k is true in at least 95
% of the draws, the claim *holds*. If one of them is true in at most 2.5 % / k, it *fails*: that the k are rarely true
together is no evidence against any single one. In between, the runs *cannot tell*; a claim that no run of the study can
answer is *not run*.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from lungkeras.evaluation.paper.evidence import Evidence
from lungkeras.evaluation.paper.predicates import PREDICATES
from lungkeras.evaluation.paper.truth import (
    CANNOT_TELL,
    NOT_RUN,
    judge,
)

COLUMNS = [
    "id",
    "claim",
    "verdict",
    "holds_in_paper",
    "share_true",
    "seeds",
    "figures",
    "reason",
    "where",
    "predicate",
    "note",
]


@functools.cache
def claims() -> dict[str, dict]:
    """{id: {claim, where, predicate, holds_in_paper, note}} of claims.yaml; treat it as read-only."""
    listed = yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))
    return {entry.pop("id"): {"note": ""} | entry for entry in listed}


def verdicts(evidence: Evidence) -> pd.DataFrame:
    """The ledger: one row per claim, with COLUMNS.

    holds_in_paper is true, false or "not checkable"; share_true is the share of draws and seeds in which the claim is
    true (ties count half), NaN if unknown; figures are the values behind the verdict; reason says why it is not
    clearer. Empty if no run uses a collection of the paper, which makes no claims about others.
    """
    if not evidence.of_the_paper:
        return pd.DataFrame(columns=COLUMNS)
    rows = []
    for name, words in claims().items():
        evidence.forget()
        truth = PREDICATES[name](evidence)
        verdict = judge(truth, missing=bool(evidence.missing))
        if lacking := evidence.lacks(words.get("needs", "")):
            evidence.missing.insert(0, lacking)
            verdict = NOT_RUN
        known = not np.isnan(np.asarray(truth)).all() and verdict != NOT_RUN
        share = float(np.nanmean(np.asarray(truth))) if known else float("nan")
        in_paper = words["holds_in_paper"]
        rows.append(
            words
            | {
                "id": name,
                "verdict": verdict,
                "holds_in_paper": str(in_paper).lower() if isinstance(in_paper, bool) else in_paper,
                "share_true": share,
                "seeds": evidence.seeds,
                "figures": _listed(evidence.figures),
                "reason": _reason(verdict, share, evidence),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _listed(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Macro F1: Pneumonia ResNet 0.861, MobileNet 0.842; COVID-19 ResNet 0.900. Best epoch: ..."""
    sentences = []
    for quantity, named in figures.items():
        groups: dict[str, list[str]] = {}
        for name, value in named.items():
            group, _, short = name.rpartition(": ")
            rate = short[:1].isdigit()
            groups.setdefault(group, []).append(f"{_figure(value)} at {short}" if rate else f"{short} {_figure(value)}")
        parts = [f"{group} {', '.join(listed)}".strip() for group, listed in groups.items()]
        sentences.append(f"{quantity[:1].upper()}{quantity[1:]}: {'; '.join(parts)}")
    return ". ".join(sentences)


def _figure(value: float) -> str:
    if np.isnan(value):
        return "not defined"
    if np.isinf(value):
        return "never"
    return f"{value:.0f}" if value == round(value) else f"{value:#.3g}".rstrip(".")


def _reason(verdict: str, share: float, evidence: Evidence) -> str:
    if verdict == NOT_RUN:
        asked = dict.fromkeys(evidence.missing)
        return f"not in this study: {'; '.join(list(asked)[:3])}" + ("; and more" if len(asked) > 3 else "")
    if verdict == CANNOT_TELL:
        return "; ".join(dict.fromkeys(evidence.thin)) or f"true in {share:.0%} of the draws"
    return ""
