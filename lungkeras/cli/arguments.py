"""Arguments that several commands take, and their checks."""

import argparse
from pathlib import Path

from lungkeras.datasets import collections
from lungkeras.system.lazy import modules


class Datasets:
    """All datasets, also your own, looked up on use and not whenever a parser is made."""

    def __contains__(self, name: object) -> bool:
        return name in modules(collections) or name in list(self)

    def __iter__(self):
        from lungkeras.datasets.registry import dataset_names

        return iter(dataset_names())


def add_dataset(sub: argparse.ArgumentParser) -> None:
    words = f"{', '.join(modules(collections))}, or one of your own (lungkeras new)"
    sub.add_argument("dataset", choices=Datasets(), metavar="DATASET", help=words)


def add_study(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("study", metavar="STUDY", help="a name in params/, or a folder of params")


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)


def require_there(run: Path) -> Path:
    """The path of a run or a model, if it exists.

    Else raises RunError, and suggests the finished run of this project with the most similar name.
    """
    from lungkeras.system.errors import RunError, nearest
    from lungkeras.system.files import glance
    from lungkeras.system.places import project_folder

    if run.exists():
        return run
    found = sorted(file.parent for file in project_folder().glob("reports/*/runs/*/metrics.json"))
    names = {folder.name: folder for folder in found}
    meant = nearest(run.name, names)
    for name, folder in names.items():
        meant = meant.replace(f" {name}?", f" {folder}?")
    raise RunError(f"No run or model at {run}: expected a folder or a file, found {glance(run)}{meant}")
