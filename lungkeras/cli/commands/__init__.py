"""One module for each command: its arguments, and what it calls.

It reads every folder of the package; lungkeras.cli.program finds the modules by their files.
"""
