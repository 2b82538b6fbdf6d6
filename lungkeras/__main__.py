"""`python -m lungkeras` is the command line."""

import sys
from pathlib import Path

if not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
    del sys.path[0]  # the folder in which the command was typed: a yaml.py there is not ours

from lungkeras.cli import main

sys.exit(main())
