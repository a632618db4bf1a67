"""Airflow's connections to Millrace's servers, as ``up`` makes them.

``plugins/millrace_connections.py`` reads them. They are made once, and follow the settings as long
as nobody has edited them in Airflow.

Usage: ``python -m millrace.stack.connections`` prints them for ``airflow connections import``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from millrace.settings import Settings
from millrace.stores.clickhouse import credentials

SECRET = ("password", "extra")
"""Fields of which only a digest is recorded."""

MASK = "***"
"""What Airflow's API answers in place of a secret."""

Connections = dict[str, dict[str, Any]]


def wanted(settings: Settings) -> Connections:
    """Return the connections that the settings ask for, by id, as Airflow's API takes them."""
    clickhouse, postgres = urlsplit(settings.clickhouse_url), urlsplit(settings.postgres_url)
    user, password = credentials(settings, "operator")
    secret = settings.postgres_password.get_secret_value()
    described: Connections = {
        "clickhouse_default": {
            "conn_type": "clickhouse",
            "description": "The warehouse; another login than the operator's does everything",
            "host": clickhouse.hostname,
            "port": clickhouse.port,
            "schema": clickhouse.path.lstrip("/"),
            "login": user,
            "password": password,
            "extra": {"secure": clickhouse.scheme == "https"},
        },
        "postgres_default": {
            "conn_type": "postgres",
            "description": "Metadata and the ingest ledger",
            "host": postgres.hostname,
            "port": postgres.port,
            "schema": postgres.path.lstrip("/"),
            "login": unquote(postgres.username or ""),
            "password": unquote(postgres.password or "") or secret,
            "extra": {},
        },
        "kafka_default": {
            "conn_type": "kafka",
            "description": "The brokers; whatever librdkafka knows goes into the config",
            "extra": settings.kafka_config
            | {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "airflow"},
        },
        "s3_default": {
            "conn_type": "s3",
            "description": "Object storage; host is a URL, schema the bucket",
            "host": settings.s3_endpoint,
            "schema": settings.s3_bucket,
            "login": settings.s3_access_key.get_secret_value(),
            "password": settings.s3_secret_key.get_secret_value(),
            "extra": {"region": settings.s3_region},
        },
    }
    for connection in described.values():
        connection["extra"] = json.dumps(connection["extra"], sort_keys=True, default=str)
    return described


def ensure(client: httpx.Client, settings: Settings) -> list[str]:
    """Make the connections that are missing, and let those that nobody edited follow the settings.

    ``client`` speaks to Airflow's REST API. Returns the ids of those made or changed. What was made
    is recorded in Millrace's home, secrets as digests, to tell an edit by.
    """
    record = settings.home / "airflow" / "connections.json"
    made = _read(record)
    answer = client.get("/connections", params={"limit": 1000}).raise_for_status().json()
    present = {found["connection_id"]: found for found in answer["connections"]}
    done = []
    for name, connection in wanted(settings).items():
        body = {"connection_id": name, **connection}
        if name not in present:
            client.post("/connections", json=body).raise_for_status()
        elif name in made and not _is_edited(made[name], present[name]):
            changed = sorted(
                field for field in connection if _noted(connection)[field] != made[name].get(field)
            )
            if not changed:
                continue
            path, mask = f"/connections/{name}", {"update_mask": changed}
            client.patch(path, json=body, params=mask).raise_for_status()
        else:
            continue
        made[name] = _noted(connection)
        done.append(name)
    _write(record, made)
    return done


def _noted(connection: dict[str, Any]) -> dict[str, Any]:
    """Return a connection as it is recorded."""
    return {
        field: hashlib.sha256(str(value).encode()).hexdigest() if field in SECRET else value
        for field, value in connection.items()
    }


def _is_edited(made: dict[str, Any], present: dict[str, Any]) -> bool:
    """Tell whether a connection differs in what the API shows of it from what was made."""
    shown = {field: present.get(field) for field in made}
    extra = json.loads(shown.get("extra") or "{}")
    if MASK in extra.values():
        del shown["extra"]
    else:
        shown["extra"] = json.dumps(extra, sort_keys=True)
    noted = _noted(shown)
    return any(noted[field] != made[field] for field in noted if field != "password")


def _read(path: Path) -> Connections:
    """Return what was recorded; nothing where the record is cut short, so that all stay as is."""
    try:
        made: Connections = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return made


def _write(path: Path, made: Connections) -> None:
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(made, file, indent=2, sort_keys=True)
    fresh.replace(path)


def main() -> None:
    """Print the connections as a file of them."""
    connections = {
        name: connection | {"extra": json.loads(connection["extra"])}
        for name, connection in wanted(Settings()).items()
    }
    json.dump(connections, sys.stdout)


if __name__ == "__main__":
    main()
