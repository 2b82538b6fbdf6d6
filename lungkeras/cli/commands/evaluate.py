"""`lungkeras evaluate`: score a run on another prepared dataset, over the classes of both."""

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
    sub.add_argument("--loose", action="store_true", help="also share classes that mean about the same, and name them")
    sub.add_argument(
        "--mapping", type=Path, metavar="FILE", help="which scans of the two are the same: a CSV, or the RSNA's JSON"
    )
    sub.add_argument("--policies", action="store_true", help="scores under each policy for unknown labels")


def run(options) -> None:
    use_backend(options.backend)
    from lungkeras.datasets.policies import DEFAULTS
    from lungkeras.evaluation.elsewhere import evaluate_on, evaluate_policies, open_for
    from lungkeras.evaluation.unseen import read_mapping
    from lungkeras.preparation.folder import load_prepared
    from lungkeras.study.runs import read_run

    params = read_run(require_there(options.run)).params
    prepared = load_prepared(options.on, **{kind: str(params.get(kind, word)) for kind, word in DEFAULTS.items()})
    scores = evaluate_policies if options.policies else evaluate_on
    found = scores(
        options.run,
        prepared,
        loose=options.loose,
        collections=open_for(options.run, options.on),
        mapping=read_mapping(options.mapping) if options.mapping else None,
    )
    say(*as_json(found).splitlines())


COMMAND = Command(
    group="a trained model",
    about="score a run on another prepared dataset, over the classes of both",
    example="evaluate reports/demo/runs/covid-resnet34-random --on prepared/demo/pneumonia",
    details="Applies the best model of a run to the test scans of another prepared dataset, and scores the classes "
    "that both have. Scans with other labels are left out and counted. On the run's own dataset, patients "
    "that it was trained on are left out too.",
    outputs="One JSON object on stdout: the scores of each class and over all, and the number of scans. Nothing is "
    "written.",
    page="commands.md",
    options=options,
    run=run,
)
