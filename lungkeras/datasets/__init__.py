"""Folders of chest X-rays, as they are published, read into one table of records: a module for each collection.

scans/ decodes one file into one grey image; phantoms/ draws the same layouts with known findings and faults.
It reads system. It is read by splits, preparation and everything that needs class names.
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
