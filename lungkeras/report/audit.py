"""The audit as the report shows it: tables/audit_<name>.csv -> what templates/audit.html.j2 needs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lungkeras.preparation.audit.dataset import TABLES
from lungkeras.preparation.audit.shortcuts import PROBES
from lungkeras.report.grid import NUMBER, Column, grid, span
from lungkeras.study.words import decimal, heading
from lungkeras.system.untrusted import table_files


def read_audit(folder: Path | str) -> dict[str, pd.DataFrame]:
    """The audit's tables by their short names; empty if the study was not audited."""
    files = {name: Path(folder) / "tables" / f"audit_{name}.csv" for name in TABLES}
    if not all(file.is_file() for file in files.values()):
        return {}
    return {name: table_files.read_csv(file) for name, file in files.items()}


def audit_section(audit: dict[str, pd.DataFrame]) -> dict | None:
    """The section's tables for the template, and its notes: {summary, shortcuts, labels, alarms, notes}."""
    if not audit or audit["leakage"].empty:
        return None
    notes = {heading(name): own["note"].tolist() for name, own in audit["notes"].groupby("dataset", sort=False)}
    alarms = audit["shortcuts"][audit["shortcuts"]["alarm"]]
    return {
        "summary": _summary(audit, alarms),
        "shortcuts": _shortcuts(audit["shortcuts"]),
        "labels": _labels(audit["labels"]),
        "alarms": len(alarms),
        "notes": notes,
    }


def probe_limits(probes: pd.DataFrame) -> pd.Series:
    """The AUROC beyond which each row of audit_shortcuts is an alarm; infinite where the probe sees the lungs."""
    return probes["name"].map(lambda name: PROBES[name].limit if name in PROBES else 1.0)


def probe_title(name: str) -> str:
    """The words for a probe of the audit; its name if it is of another version."""
    return PROBES[name].title if name in PROBES else name


def _summary(audit: dict[str, pd.DataFrame], alarms: pd.DataFrame) -> dict:
    rows = []
    for row in audit["leakage"].to_dict("records"):
        name, pairs = row["dataset"], audit["duplicates"]
        touched = pairs[(pairs["dataset"] == name) | (pairs["other_dataset"] == name)]
        within = touched["dataset"] == touched["other_dataset"]
        noise = audit["labels"][(audit["labels"]["dataset"] == name) & (audit["labels"]["class"] == "all")].iloc[0]
        rows.append(
            {
                "name": heading(name),
                "shared": sum(row[f"shared_{pair}"] for pair in ("train_val", "train_test", "val_test")),
                "random": f"{row['random_patient_in_train']:.0%}" if row["patients_known"] else "not known",
                "by_patient": row.get("random_auroc_by_patient") if row["patients_known"] else None,
                "by_scan": row.get("random_auroc_by_scan") if row["patients_known"] else None,
                "within": int(within.sum()),
                "separated": row["shared_duplicates"],
                "across": int((~within).sum()),
                "alarms": int((alarms["dataset"] == name).sum()),
                "noise": _share(noise),
            }
        )
    columns = [
        Column("name", "dataset"),
        Column("shared", "in two splits", 0, "patients"),
        Column("random", "of test in train, if split by scan", None, "patients"),
        Column("by_patient", "split by patient", 2, "AUROC of a linear model"),
        Column("by_scan", "split by scan", 2, "AUROC of a linear model"),
        Column("within", "within", 0, "pairs of duplicates"),
        Column("separated", "in two splits", 0, "pairs of duplicates"),
        Column("across", "with other datasets", 0, "pairs of duplicates"),
        Column("alarms", "shortcut alarms", 0),
        Column("noise", "wrong labels", NUMBER),
    ]
    return grid(pd.DataFrame(rows), columns)


def _shortcuts(shortcuts: pd.DataFrame) -> dict:
    texts = [
        "–" if pd.isna(row.auroc)
        else f"{decimal(row.auroc, 2)} ({span(row.low, row.high, 2)}){' alarm' * row.alarm}"
        for row in shortcuts.itertuples()
    ]  # fmt: skip
    wide = shortcuts.assign(text=texts).pivot_table("text", ["dataset", "class"], "name", aggfunc="first")
    order = pd.MultiIndex.from_frame(shortcuts[["dataset", "class"]].drop_duplicates())
    wide = wide.reindex(order).reset_index()
    wide["label"] = wide["class"].map(heading)
    columns = [Column("label", "class"), *(Column(name, probe.title) for name, probe in PROBES.items())]
    return grid(wide, columns, group=lambda row: heading(row["dataset"]))


def _labels(labels: pd.DataFrame) -> dict:
    rows = labels.assign(
        name=["All classes" if name == "all" else heading(name) for name in labels["class"]],
        share=[_share(row) for row in labels.to_dict("records")],
    )
    columns = [Column("name", "labelled as"), Column("share", "wrong labels"), Column("auroc", "AUROC of the model", 2)]
    return grid(rows, columns, group=lambda row: heading(row["dataset"]), strong=lambda row: row["class"] == "all")


def _share(entry) -> str:
    if pd.isna(entry["rate"]):
        return "can’t be estimated"
    return f"{entry['rate']:.1%} ({entry['low']:.1%}–{entry['high']:.1%})"
