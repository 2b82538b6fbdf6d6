"""`lungkeras export`: write a run's model for a small device, checked against Keras."""

import argparse
from pathlib import Path

from lungkeras.cli.arguments import require_there
from lungkeras.cli.entry import Command
from lungkeras.prediction.runtimes import SUFFIXES as FORMATS
from lungkeras.system.backends import use_backend
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    sub.add_argument("--format", required=True, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    sub.add_argument("--int8", action="store_true", help="8-bit weights and activations, calibrated on train scans")
    sub.add_argument("--to", type=Path, metavar="FILE", help="the file to write (default: RUN/export/model.*)")


def run(options) -> None:
    use_backend("tensorflow")  # whatever the run was trained on, its file is the same
    from lungkeras.prediction import export

    done = export.export_run(require_there(options.run), options.format, int8=options.int8, to=options.to)
    say(
        f"{done['path']}: {done['megabytes']:.1f} MB, {done['milliseconds']:.1f} ms per scan; "
        f"{done['labels_agree']:.1%} of labels agree with Keras, probabilities differ by up to "
        f"{done['largest_difference']:.2g}"
    )


COMMAND = Command(
    group="a trained model",
    about="write a run's model for a small device, checked against Keras",
    example="export reports/demo/runs/covid-mobilenet_v3_large-random --format litert --int8",
    details="Converts the best model of a run. The file takes prepared scans as uint8 and includes the normalisation."
    " It is compared with Keras on the test split, and refused if a probability differs by more than 0.001, "
    "or with --int8 if fewer than 95 of 100 clear decisions agree. Needs the extra [export].",
    outputs="The file, and next to it FILE.json with classes, checks and times; one line on stdout.",
    page="commands.md",
    options=options,
    run=run,
)
