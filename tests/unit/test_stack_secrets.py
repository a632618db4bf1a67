"""Secrets are made once, also when two processes find none at the same time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from millrace.settings import Settings
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


@pytest.mark.parametrize("password", ["plain", "a b", "it's", '"q"', "a # b", "\\n", "x='y'", "ä"])
def test_a_secret_of_ones_own_is_read_as_the_settings_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    monkeypatch.delenv("MILLRACE_POSTGRES_PASSWORD", raising=False)
    secrets.replace(tmp_path, "MILLRACE_POSTGRES_PASSWORD", password)
    for _ in range(2):  # made by replace, then completed
        made = secrets.ensure(tmp_path)["MILLRACE_POSTGRES_PASSWORD"]
        assert made == Settings().postgres_password.get_secret_value() == password


def test_quotes_around_a_secret_are_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text('export MILLRACE_POSTGRES_PASSWORD="a b"  # mine\n')
    assert secrets.read(tmp_path / "secrets.env") == {"MILLRACE_POSTGRES_PASSWORD": "a b"}
