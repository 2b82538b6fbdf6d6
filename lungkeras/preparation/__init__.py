"""Both ends of the prepared folder: scans and records -> arrays of one size on disk, and the folder opened again.

It reads datasets, splits and scores. audit/ checks a source before anything is trained on it. The study uses it to
check whether a folder is up to date; training, evaluation and explanation read the prepared folder.
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
