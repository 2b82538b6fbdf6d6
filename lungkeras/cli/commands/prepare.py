"""`lungkeras prepare`: equalise, blur, resize, split and store the scans of a source."""

import argparse
import sys
from pathlib import Path

from lungkeras.cli.arguments import add_dataset, count
from lungkeras.cli.entry import Command
from lungkeras.system.files import as_json
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    add_dataset(sub)
    sub.add_argument("--source", type=Path, required=True, metavar="DIR", help="the folder as published")
    sub.add_argument("--to", type=Path, required=True, metavar="DIR", help="the prepared dataset to write")
    sub.add_argument("--size", type=count, metavar="N", help="pixels per side (default: the published size)")
    sub.add_argument("--workers", type=count, metavar="N", help="threads (default: one per core)")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="seed of undersampling and split (default: 0)")
    sub.add_argument(
        "--split",
        choices=("patients", "official", "given"),
        default="patients",
        help="official: the published test list, if a dataset has one (xray8, vindr, medmnist, pneumoniamnist); "
        "given: the split of a collection of your own (default: 70:15:15 by patient)",
    )
    sub.add_argument(
        "--votes",
        choices=("majority", "any", "all"),
        help="how many readers must see a finding, if a dataset has several (vindr; default: majority)",
    )


def run(options) -> None:
    from lungkeras.datasets.policies import DEFAULTS, policy_text
    from lungkeras.datasets.registry import known_dataset
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
        votes=options.votes,
    )
    say(*as_json(summary).splitlines())
    if summary["unknown"]:
        counts = " and ".join(f"{sum(each.values()):,} {kind}" for kind, each in summary["unknown"].items())
        policy = f"the params of a run say what becomes of them (by default {policy_text(**DEFAULTS)})"
        say(f"{options.dataset}: {counts} labels are kept as published; {policy}", file=sys.stderr)


COMMAND = Command(
    group="one step of it",
    about="equalise, blur, resize, split and store the scans of a source",
    example="prepare pneumonia --source sources/pneumonia --to prepared/mine/pneumonia --size 224",
    details="Reads a collection in its published folders, applies the study's selection, equalises, blurs and resizes"
    " each scan, and splits by patient 70:15:15. Patients who share a copy of a scan stay in one split.",
    outputs="The prepared dataset in DIR: train.npy, val.npy, test.npy, records.parquet, statistics.json, and lists "
    "of copies, quarantined files and counts; a summary as JSON on stdout.",
    page="your-scans.md",
    options=options,
    run=run,
)
