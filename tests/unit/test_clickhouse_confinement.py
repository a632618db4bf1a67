"""What the embedded server's process can still read once it has confined itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

READABLE = ["/proc/self/auxv", "/proc/self/maps", "/proc/meminfo"]
CLOSED = ["/proc/self/environ", "/proc/self/mem", "/etc/passwd"]
CONFINED = """
import json, sys
from pathlib import Path
from millrace.stack.clickhouse.confinement import confine
assert confine(Path(sys.argv[1])) == "", "the kernel can't"
said = {}
for path in sys.argv[2:]:
    try:
        Path(path).read_bytes()
        said[path] = "read"
    except Exception as error:
        said[path] = type(error).__name__
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What came of reading each path in a process that confined itself to an empty folder."""
    folder = tmp_path_factory.mktemp("confined")
    command = [sys.executable, "-c", CONFINED, str(folder), *READABLE, *CLOSED]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("path", READABLE)
def test_what_the_library_asks_of_its_process_stays_readable(
    said: dict[str, str], path: str
) -> None:
    assert said[path] == "read"


@pytest.mark.parametrize("path", CLOSED)
def test_the_environment_and_the_memory_do_not(said: dict[str, str], path: str) -> None:
    assert said[path] == "PermissionError"
