"""A figure -> files for a report, an article and programs: PNG, SVG, and its data as CSV."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lungkeras.report.figures.style import theme
from lungkeras.system.files import atomic, write_csv

DPI = 160
QUALITY = 80  # of a WebP


def description(figure: Figure) -> str:
    """What a figure shows, in words and numbers."""
    return figure.get_label()


def save_figure(
    figure: Figure, folder: Path | str, number: int | str, data: pd.DataFrame | None = None, *, dpi: int = DPI
) -> Path:
    """Writes figure_<NN>.png and .svg, and its `data` as .csv; returns the PNG's path.

    A figure that is not in the paper has a name instead of a number.
    Each file appears whole. Equal figures give equal files: no dates, no random ids. The PNG carries the figure's
    description, which the report uses.
    """
    path = Path(folder) / (f"figure_{number:02d}.png" if isinstance(number, int) else f"{number}.png")
    with theme():
        with atomic(path) as temporary:
            about = {"Description": description(figure), "Software": None}
            figure.savefig(temporary, format="png", dpi=dpi, metadata=about)
        with atomic(path.with_suffix(".svg")) as temporary:
            about = {"Description": description(figure), "Date": None, "Creator": None}
            figure.savefig(temporary, format="svg", metadata=about)
    if data is not None:
        write_csv(path.with_suffix(".csv"), data)
    return path


def webp(pixels: np.ndarray) -> bytes:
    """uint8 (H, W) or (H, W, 3) as a WebP file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(file, "WEBP", quality=QUALITY)
    return file.getvalue()
