"""Both ends of the prepared folder: scans and records -> arrays of one size on disk, and the folder opened again.

It reads datasets, splits and scores. audit/ tells what to know of a source before anything is trained on it.
The study asks it whether a folder is as it would be prepared; training, evaluation and explanation read what it made.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "scan": (
            "first_steps",
            "prepare_scan",
            "preparation_steps",
        ),
        "prepare": ("prepare_dataset",),
        "folder": (
            "Prepared",
            "load_prepared",
        ),
    },
)
