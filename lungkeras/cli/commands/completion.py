"""`lungkeras completion`: print the script for shell completion of commands, options, datasets, studies and runs."""

import argparse

from lungkeras.cli.entry import Command

SHELLS = ("bash", "zsh", "fish")
STUDIES = "ls -d params/*/study.yaml 2>/dev/null | cut -d/ -f2"
RUNS = "ls -d reports/*/runs/*/metrics.json 2>/dev/null | sed 's,/metrics.json$,,'"
PREPARED = "ls -d prepared/*/*/statistics.json 2>/dev/null | sed 's,/statistics.json$,,'"
# What a shell lists for an argument, by its metavar; files and folders are listed with studies and runs.
LISTED = {"STUDY": STUDIES, "RUN": RUNS, "RUN_OR_MODEL": RUNS, "PREPARED": PREPARED}
FOLDERS = ("DIR",)
FILES = ("FILE", "IMAGE_OR_FOLDER")


def options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(options) -> None:
    import sys

    sys.stdout.write(script(options.shell, options.program))


def script(shell: str, top: argparse.ArgumentParser) -> str:
    """The script of a shell, made from the parser itself, so it is never outdated."""
    import shtab

    for command in _commands(top):
        for action in command._actions:
            if action.choices is not None:
                action.choices = tuple(action.choices)  # shtab takes a mapping for commands
            if action.metavar in LISTED:
                action.complete = {shell: _lister(shell, action.metavar)}
            elif action.metavar in (*FOLDERS, *FILES):
                action.complete = shtab.DIRECTORY if action.metavar in FOLDERS else shtab.FILE
    text = shtab.complete(top, shell, "lungkeras", {shell: _preamble(shell)})
    return text if text.endswith("\n") else f"{text}\n"


def _commands(top: argparse.ArgumentParser):
    verbs = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    return verbs.choices.values()


def _lister(shell: str, metavar: str) -> str:
    """The name of the function that lists completions; fish calls a command."""
    name = f"_lungkeras_{metavar.lower()}"
    return f"({name})" if shell == "fish" else name


def _preamble(shell: str) -> str:
    """The functions that list completions, in the language of a shell."""
    functions = []
    for metavar, listed in LISTED.items():
        name = f"_lungkeras_{metavar.lower()}"
        functions.append(
            {
                "bash": f'{name}() {{ compgen -W "$({listed})" -- "$1"; compgen -f -- "$1"; }}',
                "zsh": f'{name}() {{ compadd -- ${{(f)"$({listed})"}}; _files }}',
                "fish": f"function {name}; {listed}; __fish_complete_path (commandline -ct); end",
            }[shell]
        )
    return "\n".join(functions)


COMMAND = Command(
    group="lungkeras itself",
    about="print the script that lets bash, zsh or fish complete commands",
    details="The tab key then completes commands, options, datasets and formats, and the studies, runs and prepared "
    "datasets of the current folder. The script is generated from the commands: print it again after an "
    "update.",
    outputs="The script, on stdout.",
    example="completion bash > ~/.local/share/bash-completion/completions/lungkeras\n"
    "completion zsh > ~/.zfunc/_lungkeras\n"
    "completion fish > ~/.config/fish/completions/lungkeras.fish",
    page="commands.md",
    options=options,
    run=run,
)
