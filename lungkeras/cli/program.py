"""The command line: one verb per step, `report` for the whole study.

Exit status: 0 done; 1 failed, with one sentence on stderr; 2 wrong usage; 130 interrupted, 143 terminated, after which
the same command continues where it stopped.
"""

import argparse
import sys
import textwrap

from lungkeras.cli import commands
from lungkeras.cli.entry import GROUPS, Command
from lungkeras.system import stopping
from lungkeras.system.backends import BACKENDS
from lungkeras.system.errors import LESS_MEMORY, TOO_MANY_FILES, LungkerasError, memory_ran_out, nearest
from lungkeras.system.files import NO_ROOM, no_room
from lungkeras.system.lazy import entries
from lungkeras.system.text import few_letters, printable, say

COMMANDS: dict[str, Command] = entries(commands, "COMMAND")
WIDTH = 80
SHOWN = ("report", "predict", "phantom", "info")  # whose examples are in `lungkeras --help`
EXIT_STATUS = (
    "0 done; 1 failed, with one sentence on stderr; 2 wrong usage; 130 interrupted and 143 terminated: the same "
    "command continues where it stopped."
)


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, which suggest the nearest word."""

    def __init__(self, **options):
        super().__init__(formatter_class=_Help, **options)

    def parse_known_args(self, args=None, namespace=None):
        """Reports an unknown argument as an error of the command that it was given to."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str):
        if "invalid choice: " in message:
            wrong, _, known = message.partition("invalid choice: ")[2].partition(" (choose from ")
            message += nearest(wrong.strip("'"), [word.strip(" ')") for word in known.split(",")])
        elif message.startswith("unrecognized arguments: -"):
            wrong = message.split()[2].partition("=")[0]
            message += nearest(wrong, self._option_string_actions)
        self.exit(2, f"{self.prog}: {printable(message)}. See {self.prog} --help\n")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help that is 80 columns wide, wherever it is printed."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=26, width=WIDTH)


class Program(Parser):
    """The top-level parser, whose help lists the commands by groups."""

    def format_help(self) -> str:
        parts = [
            "usage: lungkeras COMMAND ...",
            _wrapped("Regenerates a published comparison of CNNs on chest X-rays, step by step or whole."),
        ]
        for group in GROUPS:
            own = {name: command for name, command in COMMANDS.items() if command.group == group}
            lines = (_wrapped(command.about, f"  {name:<11} ", " " * 14) for name, command in own.items())
            parts.append("\n".join([f"{group}:", *lines]))
        parts += [
            "\n".join(["examples:", *(f"  lungkeras {COMMANDS[name].example.splitlines()[0]}" for name in SHOWN)]),
            "options:\n  -h, --help  show this help and exit; `lungkeras COMMAND --help` that of a command\n"
            "  --version   show the version and exit",
            "For research only, not for diagnosis.",
        ]
        return "\n\n".join(parts) + "\n"


class Version(argparse.Action):
    """Prints the version; it is looked up only then."""

    def __call__(self, parser, *_):
        from importlib.metadata import version

        say(f"lungkeras {version('lungkeras')}")
        parser.exit()


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    try:
        options = parser().parse_args(arguments)
        with stopping.by_signals():
            if options.command.in_project:
                from lungkeras.study import layout

                layout.lay_out()
            return options.command.run(options) or 0
    except LungkerasError as error:
        say(f"lungkeras: {error}", file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:
        if error.encoding == "utf-8":
            raise
        say(f"lungkeras: {few_letters(error.object, error.encoding)}", file=sys.stderr)
        return 1
    except (MemoryError, OSError, ImportError, RuntimeError) as error:
        if memory_ran_out(error):
            say(f"lungkeras: not enough memory: {LESS_MEMORY}", file=sys.stderr)
        elif getattr(error, "errno", None) in TOO_MANY_FILES:
            say("lungkeras: too many open files: raise the limit (ulimit -n), or do less at once (--workers)",
                file=sys.stderr)  # fmt: skip
        elif getattr(error, "errno", None) in NO_ROOM:
            say(f"lungkeras: {no_room(error)}", file=sys.stderr)
        elif isinstance(error, OSError):
            say(f"lungkeras: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        else:
            raise
        return 1
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, stopping.Terminated)
        words = "terminated" if terminated else "interrupted"
        say(f"lungkeras: {words}; run the same command again to continue", file=sys.stderr)
        return stop.status if terminated else 130


def parser() -> argparse.ArgumentParser:
    """All commands and their options, in the order of their groups."""
    top = Program(prog="lungkeras")
    top.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    verbs = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name, command in sorted(COMMANDS.items(), key=lambda item: (GROUPS.index(item[1].group), item[0])):
        sub = verbs.add_parser(name, help=command.about, description=description(command), epilog=epilog(command))
        sub.set_defaults(command=command, program=top)
        sub.add_argument(
            "--backend",
            choices=BACKENDS,
            metavar="BACKEND",
            help=f"{', '.join(BACKENDS)} (default: params, KERAS_BACKEND, the first installed)",
        )
        command.options(sub)
    return top


def description(command: Command) -> str:
    """The text above the arguments in the help of a command."""
    about = f"{command.about[0].upper()}{command.about[1:]}."
    return "\n\n".join(_wrapped(paragraph) for paragraph in (about, *command.details.split("\n\n")) if paragraph)


def epilog(command: Command) -> str:
    """The text below the arguments: outputs, exit status, examples, and the page with more details."""
    examples = [f"lungkeras {example.strip()}" for example in command.example.splitlines()]
    parts = {
        "outputs": _wrapped(command.outputs, "  "),
        "exit status": _wrapped(EXIT_STATUS, "  "),
        "example" if len(examples) == 1 else "examples": "\n".join(f"  {line}" for line in examples),
        "more": f"  docs/{command.page}" if command.page else "",
    }
    return "\n\n".join(f"{title}:\n{text}" for title, text in parts.items() if text)


def _wrapped(text: str, indent: str = "", further: str | None = None) -> str:
    """Text in lines of the page's width: `indent` before the first, `further` before the others, or `indent` too."""
    further = indent if further is None else further
    text = " ".join(text.split())
    return textwrap.fill(text, WIDTH - 1, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False)
