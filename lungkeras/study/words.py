"""How runs, backbones, classes and numbers are written in titles and tables."""

import math
import re
import textwrap
from collections.abc import Iterable

from lungkeras.datasets.registry import title
from lungkeras.models import architectures

WEIGHTS_TITLES = {"random": "from scratch", "imagenet": "ImageNet weights", "transfer": "transferred features"}


def backbone_title(backbone: str) -> str:
    """ "resnet34" -> "ResNet-34", the name in the paper or by its authors; other names are unchanged."""
    return architectures.title(backbone)


def run_title(backbone: str, weights: str, *, scratch: bool = False) -> str:
    """ "EfficientNet-B1, ImageNet weights"; for random weights only the backbone, unless `scratch` is set."""
    start = "" if weights == "random" and not scratch else f", {WEIGHTS_TITLES.get(weights, weights)}"
    return backbone_title(backbone) + start


def run_name_title(run: str) -> str:
    """The title of a run by its name, <dataset>-<backbone>-<weights>[-lr<rate>][-seed<N>]; others unchanged."""
    parts = run.split("-", 3)
    if len(parts) < 3:
        return run
    suffix = "".join(f", {part}" for part in parts[3:])
    suffix = re.sub(r"-seed(?=\d+$)", ", seed ", re.sub(r"\blr(?=\d)", "learning rate ", suffix))
    return run_title(parts[1], parts[2]) + re.sub(r"\bseed(?=\d)", "seed ", suffix)


def heading(name: str) -> str:
    """A class or dataset at the start of a line: "Pneumonia", "ChestX-ray8"."""
    text = title(name)
    return text[:1].upper() + text[1:]


def listed(names: Iterable[str]) -> str:
    """Names as a sentence lists them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def wrapped(text: str, width: int) -> str:
    """A title in lines of about `width` characters."""
    return "\n".join(textwrap.wrap(text, width)) or text


def decimal(value: float | None, places: int) -> str:
    """A number with this many decimals, zero without a sign; a dash if missing."""
    return "–" if value is None or not math.isfinite(value) else f"{round(float(value), places) + 0.0:.{places}f}"
