"""What tests of other people's clients are made with: Node and its packages, a Python of its own.

Each is made once and kept until what pins it changes. A test that needs one which this machine
can't have is skipped, and says what to install.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools"
CONFORMANCE = ROOT / "tests" / "conformance"
WEB = ROOT / "sdk" / "web"
NODE = CONFORMANCE / "node"
PYTHON = CONFORMANCE / "python"


def need(program: str, package: str) -> str:
    """Return where a program is; skip the test where it is missing."""
    found = shutil.which(program)
    if not found:
        pytest.skip(f"needs {program}: apt-get install {package}")
    return found


def node_packages(folder: Path) -> str:
    """Install what a folder's package-lock.json pins; return where Node is."""
    node = need("node", "nodejs")
    npm = need("npm", "npm")
    locked = folder / "package-lock.json"
    with _once(folder / "node_modules" / ".of-lock", _hash(locked)) as is_missing:
        if is_missing:
            _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    return node


def clients_python() -> Path:
    """Return a Python that has the clients of tests/conformance/requirements.txt."""
    pinned = CONFORMANCE / "requirements.txt"
    venv = TOOLS / "conformance"
    python = venv / "bin" / "python"
    uv = shutil.which("uv") or str(TOOLS / "uv" / "bin" / "uv")
    with _once(venv / ".of-requirements", _hash(pinned)) as is_missing:
        if is_missing:
            _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)], ROOT)
            _run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python),
                  "-r", str(pinned)], ROOT)  # fmt: skip
    return python


@contextmanager
def _once(mark: Path, value: str) -> Iterator[bool]:
    """Yield whether something is still to be made; mark it afterwards. One process at a time."""
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "conformance.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_missing = not mark.exists() or mark.read_text() != value
        yield is_missing
        if is_missing:
            mark.write_text(value)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
