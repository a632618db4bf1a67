"""How PostgreSQL's own programs reach a server, and what they say of one that lets nobody in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from millrace.backups import wal
from millrace.settings import Settings
from millrace.stores import postgres

PASSWORD = "p@ss/w%3Aörd'"


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://ana@db.example:6432/millrace?sslmode=verify-full", PASSWORD),
        ("postgresql://ana:p%40ss%2Fw%253A%C3%B6rd'@db.example:6432/m?sslmode=verify-full", ""),
    ],
)
def test_the_password_is_what_it_is_and_no_argument(url: str, password: str) -> None:
    settings = Settings(postgres_url=url, postgres_password=password)  # type: ignore[arg-type]
    arguments, environment = wal.connection_options(settings)
    assert environment["PGPASSWORD"] == PASSWORD
    assert "p@ss" not in " ".join(arguments)
    assert "p%40ss" not in " ".join(arguments)
    for part in ("user=ana", "host=db.example", "port=6432", "sslmode=verify-full"):
        assert part in " ".join(arguments)


@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        ("postgresql://ana@db/m", "postgresql://ana:x@db/m"),
        ("postgresql://db/m", "postgresql://:x@db/m"),
        ("postgresql://ana@[::1]:5433/m", "postgresql://ana:x@[::1]:5433/m"),
        ("postgresql://ana@one:1,two:2/m", "postgresql://ana:x@one:1,two:2/m"),
        ("postgresql://ana:y@db/m", "postgresql://ana:y@db/m"),
    ],
)
def test_the_password_is_filled_in_where_the_address_has_none(url: str, dsn: str) -> None:
    settings = Settings(postgres_url=url, postgres_password="x")  # type: ignore[arg-type]
    assert postgres.dsn(settings) == dsn


def answering(size: str) -> Callable[..., SimpleNamespace]:
    """Stand in for PostgreSQL, whose files of the log have a size."""
    return lambda *_: SimpleNamespace(fetchone=lambda: {"wal_segment_size": size})


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 0", ""),
        ("echo 'pg_receivewal: error: FATAL:  permission denied' >&2; exit 1", "FATAL: permission"),
        ("exit 3", "exit code 3"),
    ],
)
def test_a_server_that_lets_nobody_receive_its_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    program = tmp_path / "pg_receivewal"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(wal, "program", lambda _name: str(program))
    keeps_its_log = SimpleNamespace(execute=answering("16MB"))
    monkeypatch.setattr(postgres, "connect", lambda _settings: nullcontext(keeps_its_log))
    reason = wal.refusal(Settings())
    assert said in reason
    assert bool(reason) is bool(said)


def test_files_of_the_log_of_another_size_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = SimpleNamespace(execute=answering("64MB"))
    monkeypatch.setattr(postgres, "connect", lambda _settings: nullcontext(server))
    assert "its wal_segment_size is 64MB" in wal.refusal(Settings())
