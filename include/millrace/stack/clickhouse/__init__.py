"""Embedded ClickHouse: the server that chDB's library holds, in a process of its own."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

from millrace.settings import Settings
from millrace.stack.server import Server, StackError
from millrace.stores import accounts, clickhouse

KEY = "MILLRACE_CLICKHOUSE_KEY"
"""Name of the secret that encrypts the tables."""


def server(settings: Settings, secrets: dict[str, str]) -> Server:
    """Describe the embedded ClickHouse server."""
    folder = settings.home / "clickhouse"
    http, native = settings.port("clickhouse"), settings.port("clickhouse_native")

    def check() -> None:
        with clickhouse.connect(settings, database="default") as client:
            client.command("SELECT 1")

    return Server(
        name="clickhouse",
        command=command(
            folder,
            settings.home / "secrets.env",
            http_port=http,
            tcp_port=native,
            base=clickhouse.database(settings),
        ),
        check=check,
        directory=folder,
        port=http,
        addresses={
            "http": f"http://127.0.0.1:{http}",
            "native": f"clickhouse://127.0.0.1:{native}",
        },
        prepare=lambda: check_key(folder, secrets),
        stop_seconds=60,
    )


def command(
    folder: Path, secrets: Path, *, http_port: int, tcp_port: int, base: str = "millrace"
) -> list[str]:
    """Return the command that serves ``folder``, with passwords and key from a file of secrets."""
    options = ["--path", str(folder), "--secrets", str(secrets), "--base", base]
    options += ["--http-port", str(http_port), "--tcp-port", str(tcp_port)]
    return [sys.executable, "-m", "millrace.stack.clickhouse", *options]


def passwords(known: Mapping[str, str]) -> dict[str, str]:
    """Return each account's password from variables by name; accounts without one are left out."""
    found = {
        account.name: known.get(clickhouse.password_variable(account), "")
        for account in accounts.read().accounts
    }
    return {name: password for name, password in found.items() if password}


def check_key(folder: Path, secrets: Mapping[str, str]) -> None:
    """Raise ``StackError`` unless the key is the one that the tables in ``folder`` were made with.

    Remembers, on a new folder, a hash of the key: a wrong one would show as broken tables.
    """
    mark = folder / "key.sha256"
    digest = hashlib.sha256(secrets[KEY].encode()).hexdigest()
    if not mark.exists():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(digest + "\n")
    elif mark.read_text().strip() != digest:
        raise StackError(
            f"{KEY} in secrets.env was lost or changed: it is not the key that the tables in "
            f"{folder} are encrypted with. Put the former line back from your copy of secrets.env. "
            f"If there is none, the tables can't be read: move {folder} away, run ./millrace up, "
            "then ./millrace restore."
        )
