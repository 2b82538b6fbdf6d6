"""`lungkeras train`: train one run, without a notebook."""

import argparse
from pathlib import Path

from lungkeras.cli.entry import Command
from lungkeras.system.backends import use_backend
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--params", type=Path, required=True, action="append", metavar="FILE",
                       help="a file of params; may be repeated; for each key, the last file counts")  # fmt: skip


def run(options) -> None:
    from lungkeras.study.params_files import load_params

    params = load_params(options.params, backend=options.backend)
    use_backend(params.backend)
    from lungkeras.training.one_run import train

    say(train(params))


COMMAND = Command(
    group="one step of it",
    about="train one run, without a notebook",
    example="train --params params/demo/study.yaml --params params/demo/covid-resnet34-random.yaml",
    details="Reads one or several files of params and trains the run that they describe. For each key, the last file "
    "counts. The prepared dataset must exist. An interrupted training continues at its checkpoint, and a "
    "finished run that is up to date is not trained again.",
    outputs="The folder of the run: best.keras, params.yaml, history.csv, predictions.parquet, metrics.json, "
    "environment.json and fingerprint.json; its path on stdout.",
    page="commands.md",
    in_project=True,
    options=options,
    run=run,
)
