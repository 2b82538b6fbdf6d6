"""`lungkeras prepare`: equalise, blur, resize, split and store the scans of a source."""

import argparse
from pathlib import Path

from lungkeras.cli.arguments import add_dataset, count
from lungkeras.cli.entry import Command
from lungkeras.datasets.registry import known_dataset
from lungkeras.system.files import as_json
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    add_dataset(sub)
    sub.add_argument("--source", type=Path, required=True, metavar="DIR", help="the folder as published")
    sub.add_argument("--to", type=Path, required=True, metavar="DIR", help="the prepared dataset to write")
    sub.add_argument("--size", type=count, metavar="N", help="pixels a side (default: the published size)")
    sub.add_argument("--workers", type=count, metavar="N", help="threads (default: one a core)")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="seed of undersampling and split (default: 0)")
    sub.add_argument(
        "--split",
        choices=("patients", "official", "given"),
        default="patients",
        help="official: the published test list, where a dataset has one (xray8); given: as a collection of one's own "
        "says (default: 70:15:15 by patient)",
    )


def run(options) -> None:
    from lungkeras.preparation.prepare import prepare_dataset

    size = options.size or known_dataset(options.dataset).image_size
    summary = prepare_dataset(
        options.dataset,
        options.source,
        options.to,
        size=size,
        workers=options.workers,
        seed=options.seed,
        split=options.split,
    )
    say(*as_json(summary).splitlines())


COMMAND = Command(
    group="one step of it",
    about="equalise, blur, resize, split and store the scans of a source",
    example="prepare pneumonia --source sources/pneumonia --to prepared/mine/pneumonia --size 224",
    options=options,
    run=run,
)
