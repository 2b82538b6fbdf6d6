"""Folders of chest X-rays, as they are published, read into one table of records: a module for each collection.

scans/ decodes one file into one grey image; phantoms/ draws the same layouts with known findings and faults.
It reads system. splits, preparation and all that asks what a class is called read it.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "registry": (
            "DATASETS",
            "Dataset",
            "class_columns",
            "known_dataset",
            "read_records",
            "title",
        ),
    },
)
