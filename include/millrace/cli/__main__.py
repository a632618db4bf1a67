"""Run the command line with ``python -m millrace.cli``."""

import sys

from millrace.cli.main import run

run(sys.argv[1:])
