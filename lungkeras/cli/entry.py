"""What a command tells the program: one `Command` in its module of lungkeras.cli.commands."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

# In the order of `lungkeras --help`.
GROUPS = ("a study", "one step of it", "a trained model", "scans", "lungkeras itself")


@dataclass(frozen=True)
class Command:
    """A verb, called by the name of its module.

    `options(parser)` adds its arguments. `run(parsed)` does the work and returns an exit status, or None for 0; what it
    needs of Keras, NumPy or pandas is imported within it, since `--help` imports every command.
    """

    group: str  # one of GROUPS
    about: str  # one line
    example: str  # what follows `lungkeras`; further examples on lines of their own
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    details: str = ""  # what it does, in paragraphs
    outputs: str = ""  # what it prints and writes
    page: str = ""  # the page of docs/ that says more
    in_project: bool = False  # whether it reads params/, notebooks/ or the Snakefile, which a wheel lays out
