"""Engines (embedded ClickHouse servers) of a test's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
from clickhouse_connect.driver.client import Client

from millrace import waiting

PASSWORD = "pass:word%&"


@dataclass
class Engine:
    """A running engine process and how to reach it."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """The address of the HTTP interface."""
        return f"http://127.0.0.1:{self.port}/"

    def client(self, **options: Any) -> Client:
        """Connect with clickhouse-connect, as the main user unless told."""
        known = {"username": "millrace", "password": PASSWORD, "autogenerate_session_id": False}
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, **{**known, **options}
        )

    def http(self, user: str = "millrace", password: str = PASSWORD) -> httpx.Client:
        """Return a bare HTTP client with credentials."""
        headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password.encode()}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def ask(self, sql: str | bytes, **parameters: Any) -> httpx.Response:
        """POST one statement."""
        with self.http() as client:
            return client.post("/", content=sql, params=parameters)

    def text(self, sql: str, **parameters: Any) -> str:
        """POST one statement that must succeed, and return its result."""
        response = self.ask(sql, **parameters)
        assert response.status_code == 200, response.text
        return response.text.strip()

    def kill(self) -> None:
        """End the process as a crash would."""
        self.process.kill()
        self.process.wait(30)

    def terminate(self) -> int:
        """End the process as its supervisor does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(path: Path, *arguments: str, users: str = "") -> Engine:
    """Start an engine over ``path`` and wait until it answers."""
    port = free_port()
    path.mkdir(parents=True, exist_ok=True)
    (path / "users.toml").write_text(users)
    log = path / "log.txt"
    command = [sys.executable, "-m", "millrace.stack.engine", "--path", str(path)]
    command += ["--port", str(port), "--user", "millrace", "--users", str(path / "users.toml")]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, "MILLRACE_CLICKHOUSE_PASSWORD": PASSWORD},
            stdout=output,
            stderr=output,
        )
    engine = Engine(process, port, log)

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the engine did not start: {log.read_text()}")
        try:
            return httpx.get(engine.url + "ping").is_success
        except httpx.HTTPError:
            return False

    try:
        waiting.until(answers, "the engine to answer", seconds=60, every=0.05, hint=log.read_text)
    except Exception:
        process.kill()
        raise
    return engine


@contextmanager
def running(path: Path, *arguments: str, users: str = "") -> Iterator[Engine]:
    """Run an engine for the time of a ``with`` block."""
    engine = start(path, *arguments, users=users)
    try:
        yield engine
    finally:
        engine.kill()
