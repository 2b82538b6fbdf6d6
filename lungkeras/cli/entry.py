"""The description of a command: one `Command` in its module of lungkeras.cli.commands."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

# In the order of `lungkeras --help`.
GROUPS = ("a study", "one step of it", "a trained model", "scans", "lungkeras itself")


@dataclass(frozen=True)
class Command:
    """A command, named after its module.

    `options(parser)` adds its arguments. `run(parsed)` does the work and returns an exit status, or None for 0; it
    imports Keras, NumPy or pandas inside, since `--help` imports every command.
    """

    group: str  # one of GROUPS
    about: str  # one line
    example: str  # what follows `lungkeras`; further examples on lines of their own
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    details: str = ""  # what it does, in paragraphs
    outputs: str = ""  # what it prints and writes
    page: str = ""  # the page of docs/ with more details
    in_project: bool = False  # whether it reads params/, notebooks/ or the Snakefile, which a wheel lays out
