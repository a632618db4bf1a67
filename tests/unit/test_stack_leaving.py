"""A program of Python's that ends as soon as it has ended, and tells how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import atexit, sys

class Large:
    def __del__(self):
        print("taken apart")

kept = Large()
atexit.register(print, "registered")
print("arguments", *sys.argv[1:])
{end}
"""


def ran(folder: Path, end: str) -> subprocess.CompletedProcess[str]:
    program = folder / "program"
    program.write_text(PROGRAM.format(end=end))
    command = [sys.executable, "-m", "millrace.stack.leaving", str(program), "one", "two"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("end", "code"), [("sys.exit()", 0), ("sys.exit(0)", 0), ("sys.exit(3)", 3)]
)
def test_it_ends_at_once_in_good_order(tmp_path: Path, end: str, code: int) -> None:
    done = ran(tmp_path, end)
    assert done.stdout.splitlines() == ["arguments one two", "registered"]
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("end", ["sys.exit('no room')", "raise ValueError('no room')"])
def test_what_went_wrong_is_printed(tmp_path: Path, end: str) -> None:
    done = ran(tmp_path, end)
    assert done.returncode == 1
    assert "no room" in done.stderr
