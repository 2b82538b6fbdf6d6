"""The look of all figures: one theme, one colour per backbone, one colour and marker per class, distinct without hue.

The colours are from the palettes of Okabe and Ito and of Paul Tol, made for colour-blind readers; the weights of a
backbone are distinguished by lightness, classes also by their markers.
"""

import functools
import zlib
from collections.abc import Callable

import matplotlib
import seaborn
from matplotlib.figure import Figure

BACKBONE_COLOURS = {
    "resnet34": {"random": "#0072b2", "pretrained": "#003a5c"},
    "mobilenet_v3_large": {"random": "#d55e00", "pretrained": "#6e3000"},
    "efficientnet_b1": {"random": "#009e73", "pretrained": "#00402f"},
    "densenet121": {"random": "#8c5aa8", "pretrained": "#452457"},
}
OTHER_BACKBONES = [
    {"random": random, "pretrained": pretrained}
    for random, pretrained in (
        ("#cc79a7", "#7a3a5c"),
        ("#a6761d", "#54390a"),
        ("#56b4e9", "#1b5f87"),
        ("#7f7f00", "#404000"),
        ("#b2182b", "#5c0c16"),
    )
]

CLASS_STYLES = {  # colour, marker
    "normal": ("#8c8c8c", "o"),
    "no_finding": ("#8c8c8c", "o"),
    "viral_pneumonia": ("#ddaa33", "^"),
    "bacterial_pneumonia": ("#0077bb", "s"),
    "covid": ("#aa2255", "D"),
    "atelectasis": ("#332288", "s"),
    "effusion": ("#4aa7d8", "^"),
    "mass": ("#117733", "D"),
    "nodule": ("#44aa99", "v"),
    "pneumothorax": ("#cc6677", "P"),
    "consolidation": ("#aa4499", "X"),
}
OTHER_CLASSES = [("#5b6770", marker) for marker in "p*h<>d"]


INK = "#2b2f33"
GREY = "#8b939a"  # seen on white and on every bar
THEME = {
    **seaborn.axes_style("whitegrid"),
    **seaborn.plotting_context("paper", font_scale=1.15),
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same figure on every machine
    "axes.edgecolor": "#b8bec4",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
    "figure.titlesize": 12,
    "grid.color": "#e6e9ec",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "lungkeras",  # ids in an SVG depend on its content, so equal figures are equal files
    "text.color": INK,
    "text.parse_math": False,  # names from data may hold a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}


def theme():
    """A context in which figures are made and saved; all settings are restored after it."""
    return matplotlib.rc_context(THEME)


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws a figure in the theme, completely, as ticks made later would use the style outside it."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        with theme():
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # the layout is found; finding it again is most of the cost of saving
        return figure

    return drawn


def run_colour(backbone: str, weights: str = "random") -> str:
    """The colour of a backbone: unchanged for random weights, darker for pretrained ones.

    A backbone without an assigned colour gets one from its name, whatever else is in the study.
    """
    other = OTHER_BACKBONES[zlib.crc32(backbone.encode()) % len(OTHER_BACKBONES)]
    return BACKBONE_COLOURS.get(backbone, other)["random" if weights == "random" else "pretrained"]


def themed(colour: str) -> str:
    """A colour as CSS for a page: as it is on a light ground, mixed with white on a dark one."""
    return f"light-dark({colour}, color-mix(in oklab, {colour} 60%, white))"


def class_style(name: str, position: int = 0) -> tuple[str, str]:
    """Colour and marker of a class; an unknown class gets grey and a marker by its position."""
    return CLASS_STYLES.get(name, OTHER_CLASSES[position % len(OTHER_CLASSES)])
