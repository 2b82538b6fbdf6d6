"""The command line: one verb per step, `report` for the whole study.

Exit status: 0 done; 1 failed, with one sentence on stderr; 2 wrong usage; 130 interrupted, 143 terminated, after which
the same command goes on where it stopped.
"""

import argparse
import sys

from lungkeras.cli import commands
from lungkeras.cli.entry import GROUPS, Command
from lungkeras.system import stopping
from lungkeras.system.backends import BACKENDS
from lungkeras.system.errors import LESS_MEMORY, LungkerasError, memory_ran_out, nearest
from lungkeras.system.lazy import entries
from lungkeras.system.text import printable, say

COMMANDS: dict[str, Command] = entries(commands, "COMMAND")


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, which offer the nearest word."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str):
        if "invalid choice: " in message:
            wrong, _, known = message.partition("invalid choice: ")[2].partition(" (choose from ")
            message += nearest(wrong.strip("'"), [word.strip(" ')") for word in known.split(",")])
        self.exit(2, f"{self.prog}: {printable(message)}. See {self.prog} --help\n")


class Version(argparse.Action):
    """Prints the version; it is looked up only then."""

    def __call__(self, parser, *_):
        from importlib.metadata import version

        say(f"lungkeras {version('lungkeras')}")
        parser.exit()


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        with stopping.by_signals():
            return options.command.run(options) or 0
    except LungkerasError as error:
        say(f"lungkeras: {error}", file=sys.stderr)
        return 1
    except (MemoryError, OSError, ImportError, RuntimeError) as error:
        if memory_ran_out(error):
            say(f"lungkeras: not enough memory: {LESS_MEMORY}", file=sys.stderr)
        elif isinstance(error, OSError):
            say(f"lungkeras: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        else:
            raise
        return 1
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, stopping.Terminated)
        words = "terminated" if terminated else "interrupted"
        say(f"lungkeras: {words}; the same command goes on where it stopped", file=sys.stderr)
        return stop.status if terminated else 130


def parser() -> argparse.ArgumentParser:
    """All commands and their options, in the order of their groups."""
    top = Parser(
        prog="lungkeras",
        description="Regenerates a published comparison of CNNs on chest X-rays, step by step or whole.",
        epilog="examples:\n  lungkeras report demo\n"
        "  lungkeras predict reports/demo/runs/covid-resnet34-random scan.png\n\n"
        "For research only, not for diagnosis.",
    )
    top.add_argument("--version", action=Version, nargs=0, help="show program's version number and exit")
    verbs = top.add_subparsers(metavar="COMMAND", required=True)
    for name, command in sorted(COMMANDS.items(), key=lambda item: (GROUPS.index(item[1].group), item[0])):
        sub = verbs.add_parser(
            name,
            help=command.about,
            description=command.about,
            epilog=f"example:\n  lungkeras {command.example}",
        )
        sub.set_defaults(command=command)
        sub.add_argument(
            "--backend",
            choices=BACKENDS,
            metavar="BACKEND",
            help=f"{', '.join(BACKENDS)} (default: params, KERAS_BACKEND, the first installed)",
        )
        command.options(sub)
    return top
