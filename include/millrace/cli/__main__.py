"""Run the command line with ``python -m millrace.cli``."""

import sys

from millrace.cli.main import app

try:
    app(prog_name="./millrace")
except Exception as error:
    from millrace.cli.errors import sentences

    told = sentences(error)
    if not told:
        raise
    print("millrace: " + "\n  ".join(told), file=sys.stderr)
    sys.exit(2)  # 1 is an answer: differences, bad rows, an unhealthy server
