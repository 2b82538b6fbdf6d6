"""What a table or figure of one's own tells the report: one `Further` in its module of lungkeras.report.further."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KINDS = {"table": "csv", "figure": "png"}


@dataclass(frozen=True)
class Further:
    """One table or figure, called as its module.

    `make(runs, data)` gives the DataFrame of a table, or a matplotlib Figure where `kind` is "figure"; `runs` are
    {name: Run} without the ablation, `data` {dataset: Prepared}. What it `shows` and how to read it (`reading`) stands
    beside it in the report.
    """

    kind: str  # "table" or "figure"
    title: str
    shows: str
    reading: str
    make: Callable

    def file(self, study: Path, name: str) -> Path:
        return study / ("tables" if self.kind == "table" else "figures") / f"{name}.{KINDS[self.kind]}"
