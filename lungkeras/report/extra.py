"""Finds the tables and figures of lungkeras.report.further, and writes them for the report."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from lungkeras.report import further
from lungkeras.report.entry import Further
from lungkeras.system import lazy
from lungkeras.system.files import write_csv


def entries() -> dict[str, Further]:
    """{name of the module: its entry}, in the order of their names."""
    return lazy.entries(further, "FURTHER")


def write_further(runs: Mapping, data: Mapping, study: Path) -> Iterator[object]:
    """Makes and saves every entry in tables/ or figures/ of a study; yields each table and figure."""
    from lungkeras.report.figures.files import save_figure

    for name, entry in entries().items():
        made = entry.make(runs, data)
        if entry.kind == "table":
            write_csv(entry.file(study, name), made)
        else:
            save_figure(made, study / "figures", name)
        yield made
