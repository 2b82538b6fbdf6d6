"""The audit of one dataset or of several: text for a terminal, tables for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lungkeras.system.text import printable

if TYPE_CHECKING:
    import pandas as pd

RANDOM = ("patient_in_train", "same_labels", "auroc_by_patient", "auroc_by_scan")
FEW = 10  # lines of a list that a terminal shows


def as_text(found: Mapping) -> str:
    """The audit as `lungkeras audit` prints it."""
    leakage, noise = found["leakage"], found["label_noise"]
    random = leakage["random_split"]
    shared = ", ".join(f"{pair}: {number}" for pair, number in leakage["shared_patients"].items())
    lines = [
        f"{found['dataset']}: {found['scans']:,} scans",
        *(f"  {step}: {scans:,}" for step, scans in found.get("flow", [])),
        "",
        "Leakage",
        f"  patients in two splits: {shared}; pairs of duplicates in two splits: {leakage['shared_duplicates']}",
        f"  a split by scan would have put the patient of {random['patient_in_train']:.1%} of test scans into train, "
        f"with the same labels of {random['same_labels']:.1%}",
        f"  mean AUROC of a linear model on grey levels: {_decimal(random['auroc_by_patient'])} if tested on other "
        f"patients, {_decimal(random['auroc_by_scan'])} on other scans",
        "",
        f"Duplicates: {len(found['duplicate_pairs'])} pairs",
        *_few(f"{pair['scan']} = {pair['other']} ({pair['kind']})" for pair in found["duplicate_pairs"]),
        "",
        "Shortcuts (AUROC of a linear model that does not look at the lungs, 95 % interval)",
        *(_shortcut(entry) for entry in found["shortcuts"]),
        "",
        f"Wrong labels: {_rate(noise)}",
        *(f"  {name}: {_rate(entry)}" for name, entry in noise["classes"].items()),
        f"Suspected labels: {len(found['suspects'])}, worst first",
        *_few(f"{entry['scan']}: {entry['given']}, looks like {entry['shown']}" for entry in found["suspects"]),
        "",
        *found["notes"],
    ]
    return "\n".join(map(printable, lines))


def _few(lines) -> list[str]:
    lines = [f"  {line}" for line in lines]
    return lines[:FEW] + ([f"  and {len(lines) - FEW} more"] if len(lines) > FEW else [])


def _shortcut(entry: Mapping) -> str:
    name = f"  {entry['name']:<19} {entry['class']:<20}"
    if entry["auroc"] is None:
        return f"{name} too few patients"
    return f"{name} {entry['auroc']:.3f} ({entry['low']:.3f} to {entry['high']:.3f}){'  ALARM' * entry['alarm']}"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _rate(entry: Mapping) -> str:
    if entry["rate"] is None:
        return "can't be estimated"
    return f"{entry['rate']:.1%} ({entry['low']:.1%} to {entry['high']:.1%})"


def tables(audits: Mapping[str, Mapping], across: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """The audits of several datasets as tables: audit_leakage, audit_duplicates, audit_shortcuts, audit_labels,
    audit_suspects, audit_flow, audit_notes, each with a column `dataset`; `across` are the duplicates across them.
    """
    import pandas as pd

    leakage, duplicates, shortcuts, labels, suspected, flow, notes = [], [], [], [], [], [], []
    for dataset, found in audits.items():
        leaks = found["leakage"]
        leakage.append(
            {"dataset": dataset}
            | {f"patients_{split}": patients for split, patients in leaks["patients"].items()}
            | {f"shared_{pair.replace(' and ', '_')}": number for pair, number in leaks["shared_patients"].items()}
            | {"shared_duplicates": leaks["shared_duplicates"], "patients_known": leaks["patients_known"]}
            | {f"random_{key}": leaks["random_split"].get(key) for key in RANDOM}
        )
        duplicates += [{"dataset": dataset, "other_dataset": dataset} | pair for pair in found["duplicate_pairs"]]
        shortcuts += [{"dataset": dataset} | entry for entry in found["shortcuts"]]
        every = {"all": {key: value for key, value in found["label_noise"].items() if key != "classes"}}
        for name, entry in {**every, **found["label_noise"]["classes"]}.items():
            labels.append({"dataset": dataset, "class": name} | entry)
        suspected += [{"dataset": dataset} | entry for entry in found["suspects"]]
        flow += [{"dataset": dataset, "step": step, "scans": scans} for step, scans in found["flow"]]
        notes += [{"dataset": dataset, "note": note} for note in found["notes"]]
    columns = ["dataset", "scan", "other_dataset", "other", "kind", "correlation"]
    pairs = pd.DataFrame(duplicates, columns=columns)
    if across is not None and len(across):
        pairs = pd.concat([pairs, across[columns]], ignore_index=True) if len(pairs) else across[columns]
    return {
        "audit_leakage": pd.DataFrame(leakage),
        "audit_duplicates": pairs,
        "audit_shortcuts": pd.DataFrame(
            shortcuts, columns=["dataset", "name", "class", "auroc", "low", "high", "alarm"]
        ),
        "audit_labels": pd.DataFrame(labels, columns=["dataset", "class", "rate", "low", "high", "auroc"]),
        "audit_suspects": pd.DataFrame(suspected, columns=["dataset", "scan", "given", "shown", "margin"]),
        "audit_flow": pd.DataFrame(flow, columns=["dataset", "step", "scans"]),
        "audit_notes": pd.DataFrame(notes, columns=["dataset", "note"]),
    }
