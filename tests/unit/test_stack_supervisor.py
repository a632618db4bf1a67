"""A supervisor that is on its way out is waited for, by whoever starts or ends the stack next."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from millrace.stack.server import Server
from millrace.stack.supervisor import Supervisor
from tests.helpers import wait

SLOW = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit()))
pathlib.Path("ready").touch()
time.sleep(600)
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor of one process, which takes a second to end."""
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "slow.py").write_text(SLOW)
    command = [sys.executable, str(folder / "slow.py")]
    made = Supervisor(tmp_path)
    made.configure([Server("slow", command, check=lambda: None, directory=folder)])
    made.launch()
    made.start("slow")
    wait.until((folder / "ready").exists)
    yield made
    made.await_end()
    made.shutdown()


def pid_of(supervisor: Supervisor) -> int:
    return int((supervisor.home / "supervisord.pid").read_text())


def told_to_end(supervisor: Supervisor) -> tuple[int, int]:
    """Tell the supervisor to end, as init does; return its process and its server's."""
    own, slow = pid_of(supervisor), int(supervisor.processes()["slow"]["pid"])
    os.kill(own, signal.SIGTERM)
    wait.until(lambda: not supervisor.is_running())
    assert psutil.pid_exists(slow)
    return own, slow


@pytest.mark.slow
def test_up_starts_another_after_it(supervisor: Supervisor) -> None:
    own, slow = told_to_end(supervisor)
    supervisor.launch()
    assert not psutil.pid_exists(slow)
    assert pid_of(supervisor) != own
    assert supervisor.is_running()


@pytest.mark.slow
def test_down_waits_for_its_servers(supervisor: Supervisor) -> None:
    _own, slow = told_to_end(supervisor)
    supervisor.await_end()
    assert not psutil.pid_exists(slow)
