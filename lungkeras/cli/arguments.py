"""Arguments that several commands take, and their checks."""

import argparse

from lungkeras.datasets.registry import DATASETS


def add_dataset(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("dataset", choices=DATASETS, metavar="DATASET", help=", ".join(DATASETS))


def add_study(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("study", metavar="STUDY", help="a name in params/, or a folder of params")


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)
