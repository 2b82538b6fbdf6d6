"""The audits of a study's datasets combined: tables, duplicates across collections, and the scans to look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lungkeras.datasets.registry import title
from lungkeras.preparation.audit.dataset import AUDIT, kept_audit
from lungkeras.preparation.audit.summary import tables
from lungkeras.preparation.duplicates import KEPT, across
from lungkeras.preparation.prints import Fingerprints, load_fingerprints
from lungkeras.report.figures import panels
from lungkeras.report.figures.files import save_figure
from lungkeras.report.figures.style import styled
from lungkeras.study.words import heading, wrapped
from lungkeras.system.files import write_csv
from lungkeras.system.untrusted import table_files

PICTURE = "audit_scans"
COLUMNS = 8
PAIRS = 4  # duplicates shown per dataset

Collection = tuple[Fingerprints, pd.DataFrame]


def write_study_audit(prepared: Iterable[Path], study: Path | str) -> dict[str, pd.DataFrame]:
    """Writes tables/audit_<name>.csv and figures/audit_scans.png of a study from its audited prepared datasets.

    Returns the tables by name. A dataset that has not been audited is left out; one that was audited by other code is
    audited again.
    """
    folders = [Path(folder) for folder in prepared if (Path(folder) / AUDIT).is_file()]
    audits = {folder.name: kept_audit(folder) for folder in folders}
    collections = {
        folder.name: (
            load_fingerprints(folder / "fingerprints.npz"),
            table_files.read_parquet(folder / "records.parquet"),
        )
        for folder in folders
    }
    made = tables(audits, across(collections, folders[0].parent / KEPT if folders else None))
    for name, table in made.items():
        write_csv(Path(study) / "tables" / f"{name}.csv", table)
    rows = scans_to_look_at(made, collections)
    picture = Path(study) / "figures" / f"{PICTURE}.png"
    if rows:
        save_figure(audit_scans(rows), picture.parent, PICTURE)
    else:
        picture.unlink(missing_ok=True)
        picture.with_suffix(".svg").unlink(missing_ok=True)
    return made


def scans_to_look_at(
    made: Mapping[str, pd.DataFrame], collections: Mapping[str, Collection]
) -> dict[str, list[tuple[np.ndarray, str]]]:
    """{title: [(uint8 (64, 64), words)]}: for each dataset the most suspicious scans, then pairs of duplicates."""

    def thumbnail(dataset: str, scan: str) -> np.ndarray:
        prints, records = collections[dataset]
        return prints.thumbnails[np.flatnonzero(records["scan"] == scan)[0]]

    rows = {}
    for dataset, suspected in made["audit_suspects"].groupby("dataset", sort=False):
        rows[f"{heading(dataset)}: the most suspected labels"] = [
            (thumbnail(dataset, row.scan), f"labelled {_titles(row.given)}, looks like {_titles(row.shown)}")
            for row in suspected.head(COLUMNS).itertuples()
        ]
    for (dataset, other), pairs in made["audit_duplicates"].groupby(["dataset", "other_dataset"], sort=False):
        name = heading(dataset) if dataset == other else f"{heading(dataset)} and {heading(other)}"
        rows[f"{name}: duplicates, side by side"] = [
            end
            for row in pairs.head(PAIRS).itertuples()
            for end in ((thumbnail(dataset, row.scan), row.scan), (thumbnail(other, row.other), row.other))
        ]
    return rows


def _titles(names: str) -> str:
    return " and ".join(title(name) for name in names.split("|"))


@styled
def audit_scans(rows: Mapping[str, list[tuple[np.ndarray, str]]]) -> Figure:
    """The scans to check after an audit, one row per title, up to eight per row, with words below each."""
    figure = Figure(figsize=(10, 1.9 * len(rows)), layout="constrained")
    for part, (name, scans) in zip(figure.subfigures(len(rows), 1, squeeze=False).flat, rows.items(), strict=True):
        part.suptitle(name, x=0.01, ha="left", weight="bold", fontsize=10.5)
        for place, ax in enumerate(part.subplots(1, COLUMNS)):
            ax.set_axis_off()
            if place < len(scans):
                ax.set_axis_on()
                panels.show(ax, scans[place][0])
                ax.set_xlabel(wrapped(scans[place][1], 20), fontsize=6.5)
    counted = "; ".join(f"{name}, {len(scans)} scans" for name, scans in rows.items())
    figure.set_label(f"{counted}.")
    return figure
