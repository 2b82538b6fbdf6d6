"""`lungkeras phantom`: draw a source of chest phantoms in the published layout."""

import argparse
from pathlib import Path

from lungkeras.cli.arguments import add_dataset, count
from lungkeras.cli.entry import Command
from lungkeras.system.locks import making
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    add_dataset(sub)
    sub.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write")
    sub.add_argument("--scans", type=count, metavar="N", help="scans that the study will keep (default: the demo's)")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="another seed draws other chests (default: 0)")
    sub.add_argument("--plant", action="append", default=[], metavar="NAME[=VALUE]",
                         help="a known fault to plant, with its truth in TRUTH.csv; may be repeated: marker=0.8, "
                         "duplicates=40 (duplicates:cropped=40 of one kind), noise=0.05 (noise:covid=0.05 of one "
                         "class), leaky, sources=2, strata=0.7, multilabel=0.5, null, clean")  # fmt: skip


def run(options) -> None:
    from lungkeras.datasets.phantoms.phantom import draw_source

    with making(options.to):
        say(draw_source(options.dataset, options.to, scans=options.scans, seed=options.seed, plants=options.plant))


COMMAND = Command(
    group="scans",
    about="draw a source of chest phantoms in the published layout",
    example="phantom pneumonia --to sources/pneumonia --scans 200",
    details="Draws chests with the findings of a collection, with file names, folders and lists as published. The "
    "same seed draws the same scans. --plant adds known faults, to test the audit.",
    outputs="The source in DIR; with --plant also DIR/TRUTH.csv; the path on stdout.",
    page="your-scans.md",
    options=options,
    run=run,
)
