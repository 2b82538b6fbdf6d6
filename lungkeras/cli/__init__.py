"""The command line: `commands` has a module for each command, found there by itself.

It reads every other folder, and none reads it.
"""

from lungkeras.cli.program import main

__all__ = ["main"]
