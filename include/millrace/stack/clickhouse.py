"""Embedded ClickHouse: the engine (chDB) behind the ClickHouse HTTP protocol."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from millrace.settings import Settings
from millrace.stack.server import Server
from millrace.stores import clickhouse

READER = "reader"
"""The user for people and dashboards: reads everything, changes nothing."""


def server(settings: Settings, secrets: dict[str, str]) -> Server:
    """Describe the embedded ClickHouse server."""
    folder = settings.home / "clickhouse"
    users = folder / "users.toml"
    options = ["--path", str(folder), "--port", str(settings.port("clickhouse"))]
    options += ["--user", "millrace", "--users", str(users)]

    def check() -> None:
        client = clickhouse.connect(settings, database="default")
        client.command("SELECT 1")
        client.close()

    return Server(
        name="clickhouse",
        command=[sys.executable, "-m", "millrace.stack.engine", *options],
        environment={
            "MILLRACE_CLICKHOUSE_PASSWORD": settings.clickhouse_password.get_secret_value()
        },
        check=check,
        directory=folder,
        port=settings.port("clickhouse"),
        prepare=lambda: _write_users(users, secrets),
        stop_seconds=30,
    )


def _write_users(path: Path, secrets: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"[users.{READER}]", "readonly = 2", 'database = "analytics"']
    lines.append(f'password = "{secrets["MILLRACE_CLICKHOUSE_READER_PASSWORD"]}"')
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
