"""`lungkeras evaluate`: score a run on another prepared dataset, over the classes both know."""

import argparse
from pathlib import Path

from lungkeras.cli.entry import Command
from lungkeras.system.backends import use_backend
from lungkeras.system.files import as_json
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    sub.add_argument("--on", type=Path, required=True, metavar="PREPARED", help="a prepared dataset's folder")
    sub.add_argument("--loose", action="store_true", help="share classes that mean about the same too, and name them")
    sub.add_argument("--mapping", type=Path, metavar="FILE", help="a CSV of which scans of the two are the same")


def run(options) -> None:
    use_backend(options.backend)
    from lungkeras.evaluation.elsewhere import evaluate_on, open_for, read_mapping
    from lungkeras.preparation.folder import load_prepared

    found = evaluate_on(
        options.run,
        load_prepared(options.on),
        loose=options.loose,
        collections=open_for(options.run, options.on),
        mapping=read_mapping(options.mapping) if options.mapping else None,
    )
    say(*as_json(found).splitlines())


COMMAND = Command(
    group="a trained model",
    about="score a run on another prepared dataset, over the classes both know",
    example="evaluate reports/demo/runs/covid-resnet34-random --on prepared/demo/pneumonia",
    options=options,
    run=run,
)
