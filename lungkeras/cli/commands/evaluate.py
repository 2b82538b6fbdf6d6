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


def run(options) -> None:
    use_backend(options.backend)
    from lungkeras.evaluation.run_tables import evaluate_on
    from lungkeras.preparation.folder import load_prepared

    say(*as_json(evaluate_on(options.run, load_prepared(options.on))).splitlines())


COMMAND = Command(
    group="a trained model",
    about="score a run on another prepared dataset, over the classes both know",
    example="evaluate reports/demo/runs/covid-resnet34-random --on prepared/demo/pneumonia",
    options=options,
    run=run,
)
