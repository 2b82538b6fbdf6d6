"""`lungkeras fetch`: download a collection by kagglehub, or unpack a local archive of it."""

import argparse
from pathlib import Path

from lungkeras.cli.arguments import add_dataset
from lungkeras.cli.entry import Command
from lungkeras.system.locks import making
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    add_dataset(sub)
    sub.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write")
    sub.add_argument(
        "--archive", type=Path, metavar="FILE", help="a zip or tar of the collection, instead of a download"
    )


def run(options) -> None:
    from lungkeras.datasets import download

    with making(options.to):
        say(download.fetch(options.dataset, options.to, archive=options.archive))


COMMAND = Command(
    group="scans",
    about="download a collection with kagglehub, or unpack a local archive of it",
    example="fetch covid --to sources/covid --archive covid19-radiography-database.zip",
    details="Downloads a collection to a folder, or unpacks a local archive, and compares the result with the "
    "published collection: scans in each class, and the lists of xray8. It continues an interrupted download."
    " All other commands work without a network.",
    outputs="The collection in DIR, in its published folders; the path on stdout.",
    page="your-scans.md",
    options=options,
    run=run,
)
