"""What a command tells the program: one `Command` in its module of lungkeras.cli.commands."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

GROUPS = ("a study", "one step of it", "a trained model", "scans")  # in the order of `lungkeras --help`


@dataclass(frozen=True)
class Command:
    """A verb, called by the name of its module.

    `options(parser)` adds its arguments. `run(parsed)` does the work and returns an exit status, or None for 0; what it
    needs of Keras, NumPy or pandas is imported within it, since `--help` imports every command.
    """

    group: str  # one of GROUPS
    about: str  # one line
    example: str  # what follows `lungkeras`
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
