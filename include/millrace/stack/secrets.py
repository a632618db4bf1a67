"""The secrets of an embedded stack: made once, kept in ``secrets.env`` (mode 0600)."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

ACCOUNTS = ("LOADER", "DBT", "QUALITY", "ALERTS", "EXPORTER", "BACKUP", "OPERATOR", "READER")
NAMES = (
    "MILLRACE_CLICKHOUSE_PASSWORD",
    "MILLRACE_CLICKHOUSE_KEY",
    *(f"MILLRACE_CLICKHOUSE_{name}_PASSWORD" for name in ACCOUNTS),
    "MILLRACE_POSTGRES_PASSWORD",
    "MILLRACE_S3_SECRET_KEY",
    "MILLRACE_EXPORT_HASH_KEY",
    "MILLRACE_BACKUP_KEY",
    "MILLRACE_AIRFLOW_PASSWORD",
    "MILLRACE_AIRFLOW_DATABASE_PASSWORD",
    "MILLRACE_AIRFLOW_FERNET_KEY",
    "MILLRACE_AIRFLOW_SECRET_KEY",
)


def ensure(home: Path) -> dict[str, str]:
    """Return the stack's secrets, making those that are missing.

    An environment variable of the same name wins over the file, as it does in ``Settings``.
    """
    path = home / "secrets.env"
    known = read(path)
    missing = [name for name in NAMES if name not in known]
    if missing:
        known |= {name: _generate(name) for name in missing}
        text = "# Made by ./millrace up. Keep it private; delete nothing while the data lives.\n"
        text += "".join(f"{name}={value}\n" for name, value in known.items())
        _write_private(path, text)
    return {name: os.environ.get(name, value) for name, value in known.items()}


def read(path: Path) -> dict[str, str]:
    """Return the variables in an env file; an absent file has none."""
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _generate(name: str) -> str:
    if name.endswith("FERNET_KEY"):
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(16)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
