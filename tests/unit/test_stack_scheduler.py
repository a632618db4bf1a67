"""What a killed server leaves behind, and which of it may be cleared away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from millrace.stack import scheduler
from tests.helpers import wait

SERVER = """
import os, subprocess, sys, time
if os.fork() == 0:  # a worker without work
    time.sleep(600)
if os.fork() == 0:  # a worker, and the process of its task
    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])
time.sleep(600)
"""


@pytest.fixture
def server(tmp_path: Path) -> psutil.Popen:
    """A server of two workers, one of them at work."""
    started = psutil.Popen([sys.executable, "-c", SERVER], cwd=tmp_path, process_group=0)
    wait.until(lambda: len(started.children(recursive=True)) == 3, 30)
    return started


def test_idle_workers_of_a_killed_server_are_told_from_those_at_work(
    server: psutil.Popen, tmp_path: Path
) -> None:
    workers, family = server.children(), server.children(recursive=True)
    (at_work,) = [worker for worker in workers if worker.children()]
    with subprocess.Popen(["sleep", "600"], cwd=tmp_path, process_group=0) as other:
        try:
            assert scheduler.orphans(tmp_path) == [], "their server lives"
            server.kill()
            server.wait()
            left = scheduler.orphans(tmp_path)
            assert set(left) == set(family)
            assert set(scheduler.idle(left)) == set(workers) - {at_work}
        finally:
            for process in family:
                process.kill()
            other.kill()
