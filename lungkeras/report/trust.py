"""Two questions on the first page: how far its numbers can be trusted, and what must not be concluded from them.

Five lights, each with a word and a sentence from the study's tables. A light without its table is "unknown".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.evaluation.calibration import within_chance
from lungkeras.evaluation.comparison import SIGNIFICANT
from lungkeras.report.audit import probe_limits, probe_title
from lungkeras.report.readings.words import counted
from lungkeras.study.runs import repeated_as
from lungkeras.study.words import heading, listed
from lungkeras.system import provenance

GOOD, CARE, BAD, UNKNOWN = "good", "care", "bad", "unknown"
MUCH_NOISE = 0.05  # of the labels of a dataset, by the lower end of the estimate's interval
NAMED = 3  # shortcuts that a sentence names
SMALL_FILES = ("params.yaml", "history.csv", "predictions.parquet", "metrics.json")


@dataclass(frozen=True)
class Light:
    """One row of the first page: the question, its level (good, care, bad, unknown), a word, a sentence, and a link."""

    name: str
    level: str
    word: str
    text: str
    section: str


def lights(folder: Path, frames: Mapping[str, pd.DataFrame], audit: Mapping[str, pd.DataFrame]) -> list[Light]:
    """The five lights of a study's folder, from its tables by name and those of its audit."""
    return [
        _audit(audit),
        _calibration(frames.get("calibration")),
        _shortcuts(audit),
        _copies(audit, frames.get("transfer")),
        _reproducibility(folder),
    ]


def _audit(audit: Mapping[str, pd.DataFrame]) -> Light:
    name, where = "Splits and labels", "audit_summary"
    if not audit or audit["leakage"].empty:
        return Light(name, UNKNOWN, "unaudited", "No dataset of this study has been audited.", "audit")
    leakage, labels = audit["leakage"], audit["labels"]
    shared = int(leakage[["shared_train_val", "shared_train_test", "shared_val_test"]].to_numpy().sum())
    if shared:
        return Light(name, BAD, "leaking", f"{_patients(shared)} in two splits: test scores are too high.", where)
    whole = labels[labels["class"] == "all"]
    noisy = whole[whole["low"] > MUCH_NOISE]
    if len(noisy):
        shares = ", ".join(f"{heading(row.dataset)} {row.rate:.0%}" for row in noisy.itertuples())
        return Light(name, CARE, "noisy", f"No patient is in two splits, but many labels look wrong: {shares}.", where)
    most = whole["rate"].max()
    wrong = "" if pd.isna(most) else f"; at most {most:.1%} of a dataset’s labels look wrong"
    unknown = leakage.loc[~leakage["patients_known"].astype(bool), "dataset"]
    if len(unknown):
        text = f"No patient is known to be in two splits{wrong}. {listed(map(heading, unknown))} names no patients."
        return Light(name, CARE, "partial", text, where)
    return Light(name, GOOD, "clean", f"No patient is in two splits{wrong}.", where)


def _patients(count: int) -> str:
    return f"{counted(count, 'patient')} {'is' if count == 1 else 'are'}"


def _calibration(table: pd.DataFrame | None) -> Light:
    name, where = "Calibration", "calibration"
    known, raw, good = within_chance(pd.DataFrame() if table is None else table)
    if known.empty:
        return Light(name, UNKNOWN, "unmeasured", "No model’s calibration has been measured.", where)
    text = (
        f"After correction, the calibration error of {good} of {len(known)} models is within chance; as trained, that "
        f"of {raw}. The largest corrected error is {known['ece_scaled'].max():.3f}."
    )
    level, word = (
        (GOOD, "calibrated") if good == len(known) else (CARE, "mixed") if 2 * good >= len(known) else (BAD, "poor")
    )
    return Light(name, level, word, text, where)


def _shortcuts(audit: Mapping[str, pd.DataFrame]) -> Light:
    name, where = "Shortcuts", "audit_shortcuts"
    if not audit or audit["shortcuts"]["auroc"].isna().all():
        return Light(name, UNKNOWN, "unprobed", "No probe has looked for shortcuts.", "audit")
    probed = audit["shortcuts"].dropna(subset=["auroc"])
    probed = probed[probe_limits(probed) < math.inf]
    alarms = probed[probed["alarm"].astype(bool)]
    if alarms.empty:
        looked = "; ".join(map(probe_title, dict.fromkeys(probed["name"])))
        text = f"None of {len(probed)} probes without the lungs ({looked}) is beyond its limit."
        return Light(name, GOOD, "none", text, where)
    found = [
        f"{title(row['class'])} of {heading(row['dataset'])} from {probe_title(row['name'])}"
        for row in alarms.sort_values("auroc", ascending=False).to_dict("records")
    ]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    predict = "predicts" if len(alarms) == 1 else "predict"
    text = (
        f"{len(alarms)} of {len(probed)} probes {predict} a class without the lungs: {'; '.join(found[:NAMED])}{more}."
    )
    return Light(name, BAD, "found", text, where)


def _copies(audit: Mapping[str, pd.DataFrame], transfer: pd.DataFrame | None) -> Light:
    name, where = "Copies", "audit_summary"
    if not audit or audit["leakage"].empty:
        return Light(name, UNKNOWN, "unsearched", "Copies have not been searched for.", "audit")
    separated = int(audit["leakage"]["shared_duplicates"].sum())
    pairs = audit["duplicates"]
    known = 0 if transfer is None else int(transfer["copies"].fillna(0).sum())
    asked = transfer is not None and len(transfer) > 0
    text = "No pair of duplicates was found, within or between datasets"
    if len(pairs):
        text = f"{counted(len(pairs), 'pair')} of duplicates, {separated or 'none'} of them in two splits of a dataset"
    seen = counted(known, "test scan") if known else "no test scans"
    text += f"; pretrained weights have seen {seen}." if asked else "."
    if separated:
        return Light(name, BAD, "leaking", text, where)
    if known:
        return Light(name, CARE, "known", text, "transfer")
    return Light(name, GOOD, "none", text, where)


def _reproducibility(folder: Path) -> Light:
    name, where = "Reproducibility", "runs"
    runs = sorted(file.parent for file in folder.glob("runs/*/metrics.json"))
    if not runs:
        return Light(name, UNKNOWN, "unknown", "No run of this study has finished.", where)
    recorded = {run.name: provenance.read(run / "fingerprint.json") for run in runs}
    hashed = [run for run in runs if recorded[run.name].get("results")]
    changed = [run.name for run in hashed if _changed(run, recorded[run.name])]
    repeated = len(runs) - len({repeated_as(run.name) for run in runs})
    seeds = (
        f"{counted(repeated, 'repeat')} with other seeds"
        if repeated
        else "one training each, so the spread over seeds is unknown"
    )
    if changed:
        text = f"{len(changed)} of {len(runs)} runs were changed after training: {', '.join(changed[:NAMED])}."
        return Light(name, BAD, "changed", text, where)
    text = f"{len(hashed)} of {len(runs)} runs carry the hashes of data, params, code and weights; {seeds}."
    if len(hashed) < len(runs):
        return Light(name, CARE, "partial", text, where)
    return Light(name, GOOD if repeated else CARE, "repeated" if repeated else "recorded", text, where)


def _changed(run: Path, recorded: Mapping) -> bool:
    """Whether a small file of a run changed after training; models are hashed when they are opened."""
    small = {name: value for name, value in provenance.pairs(recorded.get("results")) if name in SMALL_FILES}
    return bool(provenance.changed_files(run, dict(small)))


def cautions(datasets: Sequence[Mapping], frames: Mapping[str, pd.DataFrame], *, seeds: bool) -> list[str]:
    """What must not be concluded from this study, most important first, each a sentence."""
    sentences = []
    drawn = [facts["dataset"] for facts in datasets if facts["drawn"]]
    if drawn and len(drawn) == len(datasets):
        sentences.append("Anything about disease or patients: every scan here is a drawing.")
    elif drawn:
        sentences.append(f"Anything about disease from {listed(map(heading, drawn))}: these scans are drawings.")
    pairs = frames.get("model_pairs")
    if pairs is not None and len(pairs):
        significant = int((pairs["p_holm"] < SIGNIFICANT).sum())
        sentences.append(
            "That architectures differ by nature: what differs significantly are these trained models."
            if significant == len(pairs)
            else f"A ranking of the models: {significant} of {len(pairs)} pairs differ significantly, the others may "
            "be equal."
            if significant
            else f"A ranking of the models: none of {counted(len(pairs), 'pair')} differs significantly."
        )
    results = frames.get("table_3")
    if not seeds and results is not None and len(set(results["backbone"])) == 1:
        sentences.append(
            "That the architecture always has this score: it was trained once, and another seed may differ."
        )
    elif not seeds:
        sentences.append(
            "That one architecture is better than another: each was trained once, and another seed may differ as much."
        )
    sentences.append("Performance in another hospital: the intervals cover other patients of the same collection only.")
    multilabel = [heading(facts["dataset"]) for facts in datasets if facts.get("task") == "multilabel"]
    if multilabel and len(datasets) > 1:
        sentences.append(
            f"That {listed(multilabel)} is harder by its score alone: F1 of several findings at a threshold of one "
            "half can’t be compared with F1 of one class among few."
        )
    sentences.append("Any clinical use: no reader has checked a prediction, and nothing here is a medical device.")
    return sentences
