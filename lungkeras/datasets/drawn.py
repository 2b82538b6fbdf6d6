"""What distinguishes a drawn source from a published one, and the names of the files next to its scans."""

from pathlib import Path

NOTE = "PHANTOM.txt"  # in the root of every drawn source
BOXES = "BOXES.csv"  # next to it, if the layout has no list of boxes of its own
SIDE = 256  # pixels of a drawn scan; those of pneumonia vary


def is_drawn(source: Path) -> bool:
    """Whether lungkeras drew the scans of this folder."""
    return (source / NOTE).is_file()
