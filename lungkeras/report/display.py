"""Titles, lines, pictures and tables as a notebook's cell shows them: HTML that loads nothing.

Names come from data: a template that escapes all text writes them.
"""

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure

from lungkeras.report.figures.files import webp
from lungkeras.report.figures.style import theme
from lungkeras.report.page import environment
from lungkeras.report.pictures import data_uri
from lungkeras.system.text import printable

EDGE = 224  # pixels that a scan shown alone has at least or at most


@dataclass(frozen=True)
class Picture:
    uri: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Shown:
    """What a notebook shows of an object: a title, lines, pictures and tables, all as plain text or data URIs.

    Small pictures have a row of their own below the others, with captions as wide as they are.
    """

    title: str
    lines: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    small: Sequence[Picture] = ()

    @property
    def html(self) -> str:
        """One element of HTML that needs no script, no style sheet and no network."""
        return _template().render(shown=self)

    def _repr_html_(self) -> str:
        return self.html


@functools.cache
def _template():
    return environment().get_template("shown.html.j2")


def scan_picture(pixels: np.ndarray, alt: str, caption: str = "", edge: int = EDGE) -> Picture:
    """A scan, uint8 (H, W) or RGB (H, W, 3), so that its longer side has `edge` pixels."""
    height, width = pixels.shape[:2]
    factor = edge / max(height, width)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST)
    return Picture(data_uri(webp(resized), "webp"), printable(alt), printable(caption))


def figure_picture(figure: Figure) -> Picture:
    """A figure, as a PNG; its label is the text for who can't see it."""
    memory = io.BytesIO()
    with theme():
        figure.savefig(memory, format="png", dpi=100)
    return Picture(data_uri(memory.getvalue(), "png"), figure.get_label())
