"""`lungkeras prepare`: equalise, blur, resize, split and store the scans of a source."""

import argparse
from pathlib import Path

from lungkeras.cli.arguments import add_dataset, count
from lungkeras.cli.entry import Command
from lungkeras.datasets.registry import DATASETS
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
        choices=("patients", "official"),
        default="patients",
        help="the published test list, where a dataset has one (xray8)",
    )


def run(options) -> None:
    from lungkeras.preparation.prepare import prepare_dataset

    size = options.size or DATASETS[options.dataset].image_size
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
    details="Reads a collection in its published folders, takes the study's selection of it, equalises, blurs and "
    "resizes each scan, and splits by patient 70:15:15, where patients that share a copy of a scan stay "
    "together.",
    outputs="The prepared dataset in DIR: train.npy, val.npy, test.npy, records.parquet, statistics.json, and lists "
    "of copies, quarantined files and counts; a summary as JSON on stdout.",
    page="your-scans.md",
    options=options,
    run=run,
)
