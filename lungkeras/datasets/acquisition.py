"""Fills a source folder that does not exist yet: drawn, fetched, or given by the user."""

from pathlib import Path

from lungkeras.datasets.download import fetch
from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.datasets.registry import known_dataset
from lungkeras.system.errors import SourceError
from lungkeras.system.locks import making


def acquire(dataset: str, source: Path | str, how: str, *, scans: int | None = None, seed: int = 0) -> Path:
    """Returns the source folder, filling it first if it is missing, as the param `acquire` says.

    how: draw writes phantoms (`scans` of them), fetch downloads by kagglehub, given expects the folder to be there.
    Raises SourceError if a given folder is missing.
    """
    source = Path(source)
    if source.is_dir():
        return source
    if how in ("draw", "fetch"):
        with making(source):
            if source.is_dir():  # another process has filled it meanwhile
                return source
            return draw_source(dataset, source, scans=scans, seed=seed) if how == "draw" else fetch(dataset, source)
    if known_dataset(dataset).described:
        raise SourceError(
            f"{dataset}: no folder {source}, in which its description expects the scans: give the folder "
            f"(--source {dataset}=DIR), or correct `source` in study.yaml"
        )
    raise SourceError(
        f"{dataset}: no folder {source}. Give the collection's folder (--source {dataset}=DIR), get it "
        f"(lungkeras fetch {dataset} --to DIR), or draw one (lungkeras phantom {dataset} --to DIR)"
    )
