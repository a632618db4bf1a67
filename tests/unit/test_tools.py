"""``./millrace bench``: each benchmark is listed, and says what it measures without measuring."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(
    path.stem for path in (ROOT / "bench").glob("*.py") if "__main__" in path.read_text()
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "millrace.cli", "bench", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "100"},
    )


def test_all_are_listed() -> None:
    listed = re.findall(r"^\./millrace bench (\w+)  +\S", run().stdout, re.MULTILINE)
    assert listed == NAMES


def test_one_that_there_is_not() -> None:
    done = run("nosuch")
    assert done.returncode == 2
    assert "there is no benchmark nosuch" in done.stderr
    assert "rollups" in done.stderr


@pytest.mark.slow
def test_arguments_are_handed_on() -> None:
    done = run("sending", "--help")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_help_helps_and_does_nothing_else(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, since a benchmark of its own process spends a second on imports alone."""
    result = ROOT / "bench" / "results" / f"{name}.json"
    before = result.read_bytes() if result.exists() else b""
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "bench" / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out.lower()
    assert (result.read_bytes() if result.exists() else b"") == before
