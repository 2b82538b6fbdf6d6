"""`lungkeras audit`: look for leaks, duplicates, shortcuts and wrong labels before training."""

import argparse
from pathlib import Path

from lungkeras.cli.arguments import add_dataset, count
from lungkeras.cli.entry import Command
from lungkeras.system.files import as_json
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    add_dataset(sub)
    sub.add_argument("--source", type=Path, required=True, metavar="DIR", help="the folder as published")
    sub.add_argument("--json", action="store_true", help="print JSON instead of a summary")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="seed of selection and folds (default: 0)")
    sub.add_argument("--workers", type=count, metavar="N", help="threads that read scans (default: one a core)")


def run(options) -> None:
    from lungkeras.preparation.audit.dataset import audit_source
    from lungkeras.preparation.audit.summary import as_text

    found = audit_source(options.dataset, options.source, seed=options.seed, workers=options.workers)
    say(*(as_json(found) if options.json else as_text(found)).splitlines())


COMMAND = Command(
    group="one step of it",
    about="look for leaks, duplicates, shortcuts and wrong labels before training",
    example="audit pneumonia --source sources/pneumonia",
    details="Reads a collection in its published folders, prepares nothing, and answers four questions: does a "
    "patient or a copy lie in two splits, which scans are copies of one another, what can a linear model "
    "learn from the border, the metadata or 64 grey levels, and which labels do the scans contradict.",
    outputs="A summary on stdout, or one JSON object with --json. Nothing is written.",
    page="your-scans.md",
    options=options,
    run=run,
)
