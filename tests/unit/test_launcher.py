"""``./millrace test --unit`` needs neither a server nor anything from apt."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("bash", "dirname", "env", "git", "readlink", "sha256sum")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder for PATH with no Java, Maven, PostgreSQL or Redis, and an apt-get that tells."""
    subprocess.run(
        [ROOT / "millrace", "--help"], check=True, capture_output=True
    )  # Python is there
    for name in NEEDED:
        program = shutil.which(name)
        assert program is not None
        (tmp_path / name).symlink_to(program)
    apt = tmp_path / "apt-get"
    apt.write_text(f"#!/bin/sh\necho asked >{tmp_path}/asked\nexit 1\n")
    apt.chmod(0o755)
    return tmp_path


@pytest.mark.slow
def test_unit_tests_run_on_a_bare_machine(bare: Path) -> None:
    arguments = ["test", "--unit", "tests/unit/test_waiting.py", "-k", "nothing_is_called_so"]
    done = subprocess.run(
        [ROOT / "millrace", *arguments],
        env=os.environ | {"PATH": str(bare)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    deselected = re.search(r"(\d+) deselected", done.stdout)
    assert deselected
    assert int(deselected[1]) < 100, "not only the file that was named was read"
    assert not (bare / "asked").exists()
