"""`lungkeras evaluate`: score a run on another prepared dataset, over the classes both know."""

import argparse
from pathlib import Path

from lungkeras.cli.arguments import require_there
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

    say(*as_json(evaluate_on(require_there(options.run), load_prepared(options.on))).splitlines())


COMMAND = Command(
    group="a trained model",
    about="score a run on another prepared dataset, over the classes both know",
    example="evaluate reports/demo/runs/covid-resnet34-random --on prepared/demo/pneumonia",
    details="Asks the best model of a run for the test scans of another prepared dataset, and scores the classes that "
    "both have. Scans with other labels are left out and counted, and on the run's own dataset also patients that it "
    "was trained on.",
    outputs="One JSON object on stdout: the scores of each class and over all, and the number of scans. Nothing is "
    "written.",
    page="commands.md",
    options=options,
    run=run,
)
