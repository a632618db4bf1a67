"""ClickHouse servers of one's own: the embedded one, without the rest of the stack."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import clickhouse_connect
import httpx
from clickhouse_connect.driver.client import Client

from millrace import processes, waiting
from millrace.stack import clickhouse
from millrace.stores import accounts
from millrace.stores.clickhouse import password_variable

KEY = "00112233445566778899aabbccddeeff"


def password(account: str) -> str:
    """Return an account's password on these servers."""
    return f"pass:word%&{account}"


@dataclass
class Engine:
    """A running server process and how to reach it."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    native_port: int
    log: Path

    @property
    def url(self) -> str:
        """The address of the HTTP interface."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def settings_url(self) -> str:
        """The address as MILLRACE_CLICKHOUSE_URL has it, password filled in."""
        secret = quote(password("millrace"), safe="")
        return f"http://millrace:{secret}@127.0.0.1:{self.port}/millrace"

    def client(self, account: str = "millrace", **options: Any) -> Client:
        """Connect with clickhouse-connect."""
        known = {"username": account, "password": password(account)}
        return clickhouse_connect.get_client(
            host="127.0.0.1",
            port=self.port,
            **{**known, "database": "millrace", "autogenerate_session_id": False, **options},
        )

    def http(self, account: str = "millrace") -> httpx.Client:
        """Return a bare HTTP client with credentials."""
        headers = {"X-ClickHouse-User": account, "X-ClickHouse-Key": password(account)}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def ask(self, sql: str | bytes, account: str = "millrace", **parameters: Any) -> httpx.Response:
        """POST one statement."""
        with self.http(account) as client:
            where = {} if account == "reader" else {"database": "millrace"}
            return client.post("/", content=sql, params=where | parameters)

    def text(self, sql: str, account: str = "millrace", **parameters: Any) -> str:
        """POST one statement that must succeed, and return its result."""
        response = self.ask(sql, account, **parameters)
        if response.status_code != httpx.codes.OK:
            raise RuntimeError(response.text)
        return response.text.strip()

    def kill(self) -> None:
        """End the process as a crash would."""
        self.process.kill()
        self.process.wait(30)

    def terminate(self) -> int:
        """End the process as its supervisor does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def write_secrets(path: Path, key: str = KEY) -> Path:
    """Write the file of secrets that a server starts with."""
    lines = [
        f"{password_variable(account)}={password(account.name)}\n"
        for account in accounts.read().accounts
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines) + f"{clickhouse.KEY}={key}\n")
    return path


def launch(path: Path, key: str = KEY) -> Engine:
    """Start a server over ``path`` and return at once."""
    port, native_port = processes.free_port(), processes.free_port()
    secrets = write_secrets(path.with_name(f"{path.name}.env"), key)
    log = path.with_name(f"{path.name}.log")
    command = clickhouse.command(path, secrets, http_port=port, tcp_port=native_port)
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    return Engine(process, path, port, native_port, log)


def start(path: Path, key: str = KEY) -> Engine:
    """Start a server over ``path`` and wait until it answers."""
    engine = launch(path, key)

    def answers() -> bool:
        if (code := engine.process.poll()) is not None:
            raise RuntimeError(f"the server ended with {code}: {engine.log.read_text()}")
        try:
            return httpx.get(engine.url + "ping").is_success
        except httpx.HTTPError:
            return False

    try:
        waiting.until(
            answers, "the server to answer", seconds=60, every=0.05, hint=engine.log.read_text
        )
    except Exception:
        engine.process.kill()
        raise
    return engine


@contextmanager
def running(path: Path, key: str = KEY) -> Iterator[Engine]:
    """Run a server for the time of a ``with`` block."""
    engine = start(path, key)
    try:
        yield engine
    finally:
        engine.kill()
