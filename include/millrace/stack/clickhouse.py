"""Embedded ClickHouse: the engine (chDB) behind the ClickHouse HTTP protocol."""

from __future__ import annotations

import sys

from millrace.settings import Settings
from millrace.stack.server import Server
from millrace.stores import clickhouse


def server(settings: Settings) -> Server:
    """Describe the embedded ClickHouse server."""
    folder = settings.home / "clickhouse"

    def check() -> None:
        client = clickhouse.connect(settings, database="default")
        client.command("SELECT 1")
        client.close()

    return Server(
        name="clickhouse",
        command=[sys.executable, "-m", "millrace.stack.engine"],
        check=check,
        directory=folder,
        port=settings.port("clickhouse"),
        prepare=lambda: folder.mkdir(parents=True, exist_ok=True),
        stop_seconds=30,
    )
