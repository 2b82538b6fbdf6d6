"""`lungkeras audit`: look for leaks, duplicates, shortcuts and wrong labels; or audit a published split."""

import argparse
import sys
from pathlib import Path

from lungkeras.cli.arguments import add_dataset, count
from lungkeras.cli.entry import Command
from lungkeras.system.files import as_json
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    add_dataset(sub)
    sub.add_argument("--source", type=Path, metavar="DIR", help="the folder as published")
    sub.add_argument(
        "--splits",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="a published split: a list for each side, or a table; exit status 1 on a leak",
    )
    sub.add_argument("--repair", type=Path, metavar="FILE", help="write that split without its leaks into a new file")
    sub.add_argument("--json", action="store_true", help="print JSON instead of a summary")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="seed of selection and folds (default: 0)")
    sub.add_argument("--workers", type=count, metavar="N", help="threads that read scans (default: one per core)")


def run(options) -> int:
    if options.splits:
        return _split(options)
    if options.source is None or options.repair:
        wrong = "--repair FILE needs --splits FILE" if options.repair else "give --source DIR, --splits FILE or both"
        say(f"lungkeras audit: {wrong}. See lungkeras audit --help", file=sys.stderr)
        return 2
    from lungkeras.preparation.audit.dataset import audit_source
    from lungkeras.preparation.audit.summary import as_text

    found = audit_source(options.dataset, options.source, seed=options.seed, workers=options.workers)
    say(*(as_json(found) if options.json else as_text(found)).splitlines())
    return 0


def _split(options) -> int:
    from lungkeras.preparation.audit.published_split import audit_split, require_new, write_repaired
    from lungkeras.preparation.audit.published_split_text import split_as_text

    if options.repair:
        require_new(options.repair)
    found, table = audit_split(options.dataset, options.splits, options.source, workers=options.workers)
    if options.repair:
        found["repaired"] = write_repaired(options.repair, table)
    say(*(as_json(found) if options.json else split_as_text(found)).splitlines())
    return 1 if found["leak"] else 0


COMMAND = Command(
    group="one step of it",
    about="look for leaks, duplicates, shortcuts and wrong labels before training",
    example="audit pneumonia --source sources/pneumonia\n"
    "audit xray8 --splits train_val_list.txt test_list.txt --repair repaired.csv",
    details="Reads a collection in its published folders, prepares nothing, and answers four questions. Is a patient "
    "or a copy in two splits? Which scans are copies of one another? What can a linear model predict from the"
    " border, the metadata or 64 grey levels? Which labels do the scans contradict? With --splits, it looks "
    "for patients and copies on two sides of a published split.",
    outputs="A summary on stdout, or one JSON object with --json. Only --repair writes a file.",
    page="your-scans.md",
    options=options,
    run=run,
)
