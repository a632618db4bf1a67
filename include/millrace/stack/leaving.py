"""Runs a program of Python's that ends as soon as it has ended.

Python takes its modules apart before a process is gone. For what Airflow's processes load that is
seconds of CPU, on a busy machine more than a supervisor waits.

Usage: ``python -m millrace.stack.leaving PROGRAM ARGUMENT…``
"""

from __future__ import annotations

import atexit
import os
import runpy
import sys


def run(command: list[str]) -> None:
    """Become a program: it ends with its exit code, after what was registered with ``atexit``."""
    codes: list[int] = []

    def leave() -> None:
        if codes:  # not an exception, which Python has to print
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(codes[0])

    atexit.register(leave)  # before any other, so it comes last
    sys.argv = command
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            codes.append(ended.code or 0)
        raise


if __name__ == "__main__":
    run(sys.argv[1:])
