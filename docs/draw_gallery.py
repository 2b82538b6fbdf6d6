"""Draws the pictures of gallery.md by its own blocks: `make gallery`, where the demo is finished."""

import io
import re
import sys
from pathlib import Path

import lungkeras  # noqa: F401  before Keras

HERE = Path(__file__).resolve().parent
PART = re.compile(r"^#+ ([^\n]+)$|^```python\n(.*?)^```$", flags=re.S | re.M)
COLOURS = 128


def slug(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def drawn(page: str, names: dict):
    """Runs the blocks of a page, and yields (slug of its heading, figure) of each that draws one."""
    heading = ""
    for found in PART.finditer(page):
        if found[1]:
            heading = slug(found[1])
            continue
        names.pop("figure", None)
        exec(compile(found[2], heading, "exec"), names)
        if "figure" in names:
            yield heading, names["figure"]


def save(figure, file: Path) -> None:
    """A small PNG."""
    from PIL import Image

    memory = io.BytesIO()
    figure.savefig(memory, dpi=90, facecolor="white")
    Image.open(memory).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def main(to: Path = HERE / "gallery") -> None:
    to.mkdir(exist_ok=True)
    for name, figure in drawn((HERE / "gallery.md").read_text(encoding="utf-8"), {"__name__": "__gallery__"}):
        save(figure, to / f"{name}.png")
        print(f"{name}.png", file=sys.stderr)


if __name__ == "__main__":
    main()
