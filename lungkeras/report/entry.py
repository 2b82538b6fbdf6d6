"""What the report knows about a table or figure of one's own: one `Further` in its module of report.further."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
