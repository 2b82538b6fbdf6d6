"""What a notebook saves: one call writes a table or a figure of a study and returns it, so that its cell shows it."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lungkeras.report.figures.files import save_figure
from lungkeras.system.files import write_csv


def table(study: Path, name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Writes tables/<name>.csv of a study's folder; returns the table."""
    write_csv(study / "tables" / f"{name}.csv", frame)
    return frame


def figure(study: Path, name: int | str, drawn: Figure, data: pd.DataFrame | None = None) -> Figure:
    """Writes figures/<name> of a study's folder as PNG and SVG, and its `data` as CSV; returns the figure."""
    save_figure(drawn, study / "figures", name, data=data)
    return drawn
