"""The restore drill, with what it needs of others: an empty ClickHouse, and ingest.

ClickHouse's library holds one server a process, and a drill's must have no key, no file and no
account of the stack's own: so the empty server is a process of its own, on a folder of its own.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millrace import processes, waiting
from millrace.backups import drill
from millrace.backups.drill import DrillError, Report
from millrace.backups.gateway import BackupError
from millrace.settings import Settings
from millrace.stack import clickhouse as embedded
from millrace.stores import clickhouse
from millrace.usecases.resume_ingest import resume

__all__ = ["DrillError", "Report", "run"]


def run(settings: Settings) -> Report:
    """Run a drill and return its report; raises ``DrillError`` with the report if it fails."""
    return drill.Drill(settings, empty_clickhouse, resume).run()


@contextmanager
def empty_clickhouse(settings: Settings, folder: Path) -> Iterator[str]:
    """Give the URL of an empty ClickHouse: the one that is set, or an embedded one in ``folder``.

    Raises ``BackupError`` when it does not start.
    """
    if settings.drill_clickhouse_url:
        yield settings.drill_clickhouse_url
        return
    port, native = processes.free_port(), processes.free_port()
    name = clickhouse.database(settings)
    known, log = folder / "secrets.env", folder / "clickhouse.log"
    variables = clickhouse.account_variables(settings)
    variables[embedded.KEY] = secrets.token_hex(16)  # as on another machine
    with os.fdopen(os.open(known, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.writelines(f"{key}={value}\n" for key, value in variables.items())
    command = embedded.command(
        folder / "clickhouse", known, http_port=port, tcp_port=native, base=name
    )
    with processes.running(command, log) as server:
        _await_listening(server, port, log)
        yield f"http://millrace@127.0.0.1:{port}/{name}"


def _await_listening(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    def last_words() -> str:
        return log.read_text(errors="replace")[-500:]

    def listens() -> bool:
        if server.poll() is not None:
            raise BackupError(f"the empty ClickHouse does not start: {last_words()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    waiting.until(
        listens, "the empty ClickHouse to start", seconds=120, hint=last_words, error=BackupError
    )
