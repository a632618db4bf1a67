"""Run the command line with ``python -m millrace.cli``."""

from millrace.cli.main import app

app(prog_name="./millrace")
