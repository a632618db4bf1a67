"""What the embedded server's process can still read once it has confined itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFINED = """
import sys
from pathlib import Path
from millrace.stack.clickhouse.confinement import confine
assert confine(Path(sys.argv[1])) == "", "the kernel can't"
print(len(Path(sys.argv[2]).read_bytes()))
"""


def read_confined(folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CONFINED, str(folder), path]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("path", ["/proc/self/auxv", "/proc/self/maps", "/proc/meminfo"])
def test_what_the_library_asks_of_its_process_stays_readable(tmp_path: Path, path: str) -> None:
    done = read_confined(tmp_path, path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["/proc/self/environ", "/proc/self/mem", "/etc/passwd"])
def test_the_environment_and_the_memory_do_not(tmp_path: Path, path: str) -> None:
    done = read_confined(tmp_path, path)
    assert "PermissionError" in done.stderr
