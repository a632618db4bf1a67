"""The secrets of an embedded stack: made once, kept in ``secrets.env`` (mode 0600)."""

from __future__ import annotations

import base64
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dotenv import dotenv_values

from millrace.access import keys, tokens

ACCOUNTS = (
    "LOADER",
    "INGESTION",
    "QUERY",
    "DBT",
    "QUALITY",
    "ALERTS",
    "EXPORTER",
    "BACKUP",
    "OPERATOR",
    "READER",
)
NAMES = (
    "MILLRACE_CLICKHOUSE_PASSWORD",
    "MILLRACE_CLICKHOUSE_KEY",
    *(f"MILLRACE_CLICKHOUSE_{name}_PASSWORD" for name in ACCOUNTS),
    "MILLRACE_POSTGRES_PASSWORD",
    "MILLRACE_S3_SECRET_KEY",
    "MILLRACE_EXPORT_HASH_KEY",
    "MILLRACE_INGEST_HASH_KEY",
    "MILLRACE_INGEST_KEY",
    "MILLRACE_QUERY_KEY",
    "MILLRACE_ADMIN_PASSWORD",
    "MILLRACE_REPORT_TOKEN",
    "MILLRACE_BACKUP_KEY",
    "MILLRACE_AIRFLOW_PASSWORD",
    "MILLRACE_AIRFLOW_QUERY_PASSWORD",
    "MILLRACE_AIRFLOW_DATABASE_PASSWORD",
    "MILLRACE_AIRFLOW_FERNET_KEY",
    "MILLRACE_AIRFLOW_SECRET_KEY",
)
_PLAIN = re.compile(r"[\w./:=+@-]*", re.ASCII)


def ensure(home: Path) -> dict[str, str]:
    """Return the stack's secrets, making those that are missing.

    An environment variable of the same name wins over the file, as it does in ``Settings``.
    """
    path = home / "secrets.env"
    with _alone(home):
        known = read(path)
        missing = [name for name in NAMES if name not in known]
        if missing:
            known |= {name: _generate(name) for name in missing}
            _write(path, known)
    return {name: os.environ.get(name, value) for name, value in known.items()}


def replace(home: Path, name: str, value: str) -> None:
    """Keep another value of a secret."""
    path = home / "secrets.env"
    with _alone(home):
        _write(path, read(path) | {name: value})


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Let one process at a time read and write: what another makes meanwhile would be lost."""
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "secrets.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(path: Path) -> dict[str, str]:
    """Return the variables in an env file, as ``Settings`` reads it; an absent file has none."""
    if not path.exists():
        return {}
    return {name: value for name, value in dotenv_values(path).items() if value is not None}


def _generate(name: str) -> str:
    if name == "MILLRACE_INGEST_KEY":
        return keys.new_text()
    if name == "MILLRACE_REPORT_TOKEN":
        return keys.new_text(tokens.PREFIX)
    if name.endswith("FERNET_KEY"):
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(16)


def _quoted(value: str) -> str:
    """Return a value as it is, unless it would be read otherwise."""
    if _PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _write(path: Path, known: dict[str, str]) -> None:
    text = "# Made by ./millrace up. Keep it private; delete nothing while the data lives.\n"
    text += "".join(f"{name}={_quoted(value)}\n" for name, value in known.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # without these keys the data is lost
    fresh.replace(path)
