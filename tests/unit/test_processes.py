"""Servers that a process of ours runs end with it, whatever ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from millrace import processes
from tests.helpers import wait

RUNNER = """
import signal, sys, time
from pathlib import Path
from millrace import processes

signal.signal(signal.SIGTERM, lambda *_: sys.exit())
folder = Path(sys.argv[1])
is_unprivileged = sys.argv[2] == "True"
with processes.running(
    ["sleep", "600"], folder / "log", folder=folder, is_unprivileged=is_unprivileged
):
    time.sleep(600)
"""


@pytest.fixture(params=[False, True], ids=["ours", "unprivileged"])
def runner(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs a server in a folder."""
    command = [sys.executable, "-c", RUNNER, str(tmp_path), str(request.param)]
    with subprocess.Popen(command) as started:
        try:
            yield started
        finally:
            started.kill()


def serving(folder: Path) -> list[psutil.Process]:
    """Return the server once it is no copy of its parent any more."""
    return [one for one in processes.working_in([folder]) if one.name() == "sleep"]


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_ends_with_the_process_that_runs_it(
    runner: subprocess.Popen[bytes], tmp_path: Path, by: signal.Signals
) -> None:
    wait.until(lambda: serving(tmp_path), 30)
    (server,) = serving(tmp_path)
    try:
        runner.send_signal(by)
        runner.wait(30)
        server.wait(30)
    finally:
        processes.kill([server])


def test_a_server_that_does_not_end_is_killed(tmp_path: Path) -> None:
    deaf = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 600; done"]
    log = tmp_path / "log"
    with processes.running(deaf, log, stop_seconds=0.1) as server:
        wait.until(lambda: "deaf" in log.read_text(), 30)
    assert server.returncode == -signal.SIGKILL


def test_what_works_in_a_folder_is_found_and_killed(tmp_path: Path) -> None:
    below, beside = tmp_path / "below" / "it", tmp_path / "beside"
    for folder in (below, beside):
        folder.mkdir(parents=True)
    with (
        processes.running(["sleep", "600"], tmp_path / "a", folder=below) as server,
        processes.running(["sleep", "600"], tmp_path / "b", folder=beside) as other,
    ):
        found = processes.working_in([tmp_path / "below"])
        assert [process.pid for process in found] == [server.pid]
        assert processes.kill(found) == []
        assert server.poll() is not None
        assert other.poll() is None
