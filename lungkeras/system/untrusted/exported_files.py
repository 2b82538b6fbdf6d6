"""What the checks of exported files share (onnx_files, litert_files, openvino_files, saved_models).

A runtime trusts its file: ONNX may name other files on disk as weights, LiteRT follows offsets anywhere, a SavedModel
may do all that TensorFlow can, including reading and writing files. So a file passes if it holds what our exports hold:
arithmetic on arrays within the file. A runtime gets the checked bytes, not the file again, except for a SavedModel,
which only TensorFlow itself can parse.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from lungkeras.system.errors import Refused

MOST_BYTES = 2**30
MOST_ITEMS = 100_000  # operations, arrays
MOST_NUMBERS = 2**26  # of an array on its way through the model
MOST_RATIO = 10  # of claimed size to actual size


def content(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file. Raises Refused if it is not a plain file or larger than any of our exports."""
    if not path.is_file():
        raise Refused(f"{path.name} is missing" if not path.exists() else f"{path.name} is not a plain file")
    if path.stat().st_size > most:
        raise Refused(f"{path.name} is larger than {most // 2**20:,} MB")
    return path.read_bytes()


def only_known(operations: Iterable[str], known: set[str]) -> None:
    """Raises Refused, naming one, if there are operations that our exports do not have, or too many."""
    operations = list(operations)
    if strange := sorted(set(operations) - known):
        raise Refused(f"it holds the operation {strange[0][:80]!r}, which none of our exports has")
    if len(operations) > MOST_ITEMS:
        raise Refused(f"it holds {len(operations):,} operations")


def numbers(shape: Iterable[int], name: str) -> int:
    """How many numbers an array of this shape has. Raises Refused if the number is impossible for a model."""
    shape = [int(side) for side in shape]
    if any(side < 0 for side in shape) or math.prod(shape) > MOST_NUMBERS:
        raise Refused(f"its array {name[:80]!r} has the shape {tuple(shape[:8])}")
    return math.prod(shape)
