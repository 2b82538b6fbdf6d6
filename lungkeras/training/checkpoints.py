"""The checkpoints of a run: the last one, and the one before it."""

import io
from pathlib import Path

import numpy as np

from lungkeras.system.untrusted import array_files, json_files

CHECKPOINTS = ("checkpoint.npz", "checkpoint-before.npz")  # the last one, and the one before it


def read_checkpoint(file: Path) -> tuple[dict, dict[str, list[np.ndarray]]]:
    """The state that `Progress.save` wrote, and its arrays by group."""
    with array_files.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
        state = json_files.loads(arrays["state"].tobytes())
        return state, {
            group: [arrays[name] for name in arrays.files if name.startswith(f"{group}_")]
            for group in ("weights", "best", "optimizer")
        }


def remove_checkpoints(folder: Path) -> None:
    """Removes the checkpoints of a finished run."""
    for name in CHECKPOINTS:
        (folder / name).unlink(missing_ok=True)
