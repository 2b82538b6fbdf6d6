"""`lungkeras prepare`: equalise, blur, resize, split and store the scans of a source."""

import argparse
import sys
from pathlib import Path

from lungkeras.cli.arguments import add_dataset, count
from lungkeras.cli.entry import Command
from lungkeras.datasets.policies import DEFAULTS, told
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
    if summary["unknown"]:
        counts = " and ".join(f"{sum(each.values()):,} {kind}" for kind, each in summary["unknown"].items())
        policy = f"the params of a run say what becomes of them (by default {told(**DEFAULTS)})"
        say(f"{options.dataset}: {counts} labels are kept as published; {policy}", file=sys.stderr)


COMMAND = Command(
    group="one step of it",
    about="equalise, blur, resize, split and store the scans of a source",
    example="prepare pneumonia --source sources/pneumonia --to prepared/mine/pneumonia --size 224",
    options=options,
    run=run,
)
