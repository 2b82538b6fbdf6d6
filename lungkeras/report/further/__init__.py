"""Optional tables and figures beyond the paper's: a module each, with its entry `FURTHER`.

It reads what each module needs: runs, prepared data, scores. The graph, the notebook of evaluation and the report find
every module here; docs/adding.md explains how to add one.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lungkeras.system import lazy
from lungkeras.system.files import write_csv

KINDS = {"table": "csv", "figure": "png"}


@dataclass(frozen=True)
class Further:
    """One table or figure, named after its module.

    `make(runs, data)` returns the DataFrame of a table, or a matplotlib Figure if `kind` is "figure"; `runs` are {name:
    Run} without the ablation, `data` {dataset: Prepared}. The report prints what it `shows` and how to read it
    (`reading`) next to it.
    """

    kind: str  # "table" or "figure"
    title: str
    shows: str
    reading: str
    make: Callable

    def file(self, study: Path, name: str) -> Path:
        return study / ("tables" if self.kind == "table" else "figures") / f"{name}.{KINDS[self.kind]}"


def entries() -> dict[str, Further]:
    """{name of the module: its entry}, in the order of their names."""
    return lazy.entries(sys.modules[__name__], "FURTHER")


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
