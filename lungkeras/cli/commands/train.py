"""`lungkeras train`: train one run, outside any notebook."""

import argparse
from pathlib import Path

from lungkeras.cli.entry import Command
from lungkeras.system.backends import use_backend
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--params", type=Path, required=True, action="append", metavar="FILE",
                       help="a file of params; may be repeated, the last wins key by key")  # fmt: skip


def run(options) -> None:
    from lungkeras.study.params import load_params

    params = load_params(options.params, backend=options.backend)
    use_backend(params.backend)
    from lungkeras.training.one_run import train

    say(train(params))


COMMAND = Command(
    group="one step of it",
    about="train one run, outside any notebook",
    example="train --params params/demo/study.yaml --params params/demo/covid-resnet34-random.yaml",
    details="Reads one or several files of params, the last of which wins key by key, and trains what they describe. "
    "The prepared dataset must be there. A training that was interrupted continues at its checkpoint, and a "
    "finished run that would come out the same is not trained again.",
    outputs="The folder of the run: best.keras, params.yaml, history.csv, predictions.parquet, metrics.json, "
    "environment.json and fingerprint.json; its path on stdout.",
    page="commands.md",
    in_project=True,
    options=options,
    run=run,
)
