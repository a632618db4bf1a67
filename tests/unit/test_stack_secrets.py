"""Secrets are made once, also when two processes find none at the same time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from millrace.stack import secrets


def test_who_comes_at_the_same_time_gets_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = secrets.read
    made: list[dict[str, str]] = []
    other = threading.Thread(target=lambda: made.append(secrets.ensure(tmp_path)))

    def read_slowly(path: Path) -> dict[str, str]:
        known = read(path)
        if threading.current_thread() is threading.main_thread():
            other.start()
            other.join(0.3)  # ends only where nothing keeps it from writing in between
        return known

    monkeypatch.setattr(secrets, "read", read_slowly)
    made.append(secrets.ensure(tmp_path))
    other.join(10)
    assert made[0] == made[1] == read(tmp_path / "secrets.env")
    assert (tmp_path / "secrets.env").stat().st_mode & 0o777 == 0o600


def test_what_is_replaced_leaves_the_others(tmp_path: Path) -> None:
    before = secrets.ensure(tmp_path)
    secrets.replace(tmp_path, "MILLRACE_INGEST_KEY", "another")
    after = secrets.read(tmp_path / "secrets.env")
    assert {name for name in after if after[name] != before[name]} == {"MILLRACE_INGEST_KEY"}
