"""`lungkeras status`: show the progress of a study, and about how long it still takes."""

import argparse

from lungkeras.cli.arguments import add_study
from lungkeras.cli.entry import Command
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    add_study(sub)


def run(options) -> None:
    from lungkeras.study import status
    from lungkeras.study.params_files import load_params, study_folder

    folder = study_folder(options.study)
    params = load_params([folder / "study.yaml"], backend=options.backend)
    say(status.sentence(params.study_folder, folder.name))


COMMAND = Command(
    group="a study",
    about="show the progress of a study, and about how much time is left",
    example="status demo",
    details="Reads the status file of a running or interrupted study. It starts nothing.",
    outputs="One sentence on stdout.",
    page="commands.md",
    options=options,
    run=run,
)
