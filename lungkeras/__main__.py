"""`python -m lungkeras` is the command line."""

import sys

from lungkeras.cli import main

sys.exit(main())
