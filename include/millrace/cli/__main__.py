"""Run the command line with ``python -m millrace.cli``."""

import sys

try:
    from millrace.cli.main import run

    run(sys.argv[1:])
except KeyboardInterrupt:  # before there was a command to tell of it
    sys.exit(130)
