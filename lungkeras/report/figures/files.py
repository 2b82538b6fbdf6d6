"""A figure -> files for a report, an article and programs: PNG, SVG, and its data as CSV."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from lungkeras.report.figures.style import theme
from lungkeras.system.files import atomic, write_csv

DPI = 160
QUALITY = 80  # of a WebP


def description(figure: Figure) -> str:
    """What a figure shows, in words and numbers."""
    return figure.get_label()


def pictures(figure: Figure, dpi: int = DPI) -> list[dict]:
    """Where a drawn figure shows scans, heat maps or shades: {box, title, group} of each, in the order of drawing.

    `box` is left, top, width and height as shares of the figure, on whole pixels at `dpi`, as they are drawn; `title`
    is above the picture, `group` above its part of the figure.
    """
    width, height = (int(inches * dpi) for inches in figure.get_size_inches())
    scale, found = dpi / figure.dpi, []
    for ax in figure.axes:
        if not ax.images and not any(isinstance(drawn, QuadMesh) for drawn in ax.collections):
            continue
        left, low, right, high = (round(float(edge) * scale) for edge in ax.get_window_extent().extents)
        box = left / width, 1 - high / height, (right - left) / width, (high - low) / height
        title, group = (" ".join(words.split()) for words in (ax.get_title("center"), _group(ax)))
        found.append({"box": [round(edge, 5) for edge in box], "title": title, "group": group})
    return found


def _group(artist) -> str:
    """The title of the innermost part of a figure, with a title, that holds an artist."""
    part = artist.get_figure(root=False)
    if part is artist:
        return ""
    return part.get_suptitle() or _group(part)


def save_figure(
    figure: Figure, folder: Path | str, number: int | str, data: pd.DataFrame | None = None, *, dpi: int = DPI
) -> Path:
    """Writes figure_<NN>.png and .svg, and its `data` as .csv; returns the PNG's path.

    A figure that is not in the paper has a name instead of a number.
    Each file appears whole. Equal figures give equal files: no dates, no random ids. The PNG carries the figure's
    description and the places of its pictures, which the report uses.
    """
    path = Path(folder) / (f"figure_{number:02d}.png" if isinstance(number, int) else f"{number}.png")
    with theme():
        with atomic(path) as temporary:
            about = {"Description": description(figure), "Software": None}
            about |= {"Pictures": json.dumps(pictures(figure, dpi))}
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
