"""A task that is asked to end is told so, where Airflow's own handler would let it go on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest


def test_a_task_hears_that_it_is_to_end(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "plugins"))
    sys.modules.pop("millrace_dags", None)
    from millrace_dags import on_termination

    heard: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    try:
        on_termination(lambda: heard.append("leave"))
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == ["leave"]
