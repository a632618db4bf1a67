"""Airflow's connections, read as settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import SecretStr

from millrace.settings import Settings
from millrace.stack import connections
from millrace.stores import kafka
from millrace.stores.clickhouse import credentials
from millrace.stores.postgres import dsn

OWN = {
    "MILLRACE_CLICKHOUSE_PASSWORD": "owner's",
    "MILLRACE_CLICKHOUSE_LOADER_PASSWORD": "loader's",
    "MILLRACE_CLICKHOUSE_OPERATOR_PASSWORD": "operator's",
    "MILLRACE_POSTGRES_PASSWORD": "p@ss/word",
    "MILLRACE_S3_SECRET_KEY": "s3's",
}


@pytest.fixture
def plugin(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "plugins"))
    sys.modules.pop("millrace_connections", None)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    for name, connection in connections.wanted(Settings()).items():
        edit(monkeypatch, name, **connection)
    import millrace_connections

    return millrace_connections


def edit(monkeypatch: pytest.MonkeyPatch, name: str, **connection: Any) -> None:
    """Let Airflow have a connection."""
    connection["extra"] = json.loads(connection.get("extra", "{}"))
    connection.pop("description", None)
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))


def changed(monkeypatch: pytest.MonkeyPatch, name: str, **fields: Any) -> None:
    """Edit a few fields of a connection as ``up`` made it."""
    edit(monkeypatch, name, **connections.wanted(Settings())[name] | fields)


def test_connections_as_they_are_made_change_nothing(plugin: ModuleType) -> None:
    assert plugin.settings() == Settings()


def test_another_address_keeps_the_accounts(
    plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(
        monkeypatch, "clickhouse_default", host="elsewhere", port=8443, extra='{"secure": true}'
    )
    found = plugin.settings()
    assert found.clickhouse_url == "https://millrace@elsewhere:8443/millrace"
    assert credentials(found, "loader") == ("loader", "loader's")
    assert credentials(found) == ("millrace", "owner's")


def test_another_login_does_everything(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(monkeypatch, "clickhouse_default", login="me@home", password="mine", schema="events_db")
    found = plugin.settings()
    assert found.clickhouse_url.endswith("/events_db")
    for account in ("loader", "dbt", "operator", None):
        assert credentials(found, account) == ("me@home", "mine")


def test_postgres_with_parameters(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(
        monkeypatch, "postgres_default", host="elsewhere", port=None, password="p@ss/word",
        extra='{"sslmode": "require"}',
    )  # fmt: skip
    assert dsn(plugin.settings()) == (
        "postgresql://millrace:p%40ss%2Fword@elsewhere:5432/millrace?sslmode=require"
    )


def test_kafka_with_everything_that_its_clients_need_to_get_in(
    plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = {
        "bootstrap.servers": "elsewhere:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "hush-hush",
    }
    other = {"group.id": "someone's", "enable.auto.commit": True, "isolation.level": "x"}
    changed(monkeypatch, "kafka_default", extra=json.dumps(access | other))
    found = plugin.settings()
    assert found.kafka_bootstrap_servers == "elsewhere:9093"
    assert "hush-hush" not in repr(found)
    config = kafka.consumer_config(found, "millrace.events")
    assert config.items() >= access.items()
    assert config["group.id"] == "millrace.events"
    assert config["enable.auto.commit"] is False
    assert config["isolation.level"] == "read_committed"


def test_object_storage(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(
        monkeypatch, "s3_default", host="https://minio.example.com", login="me", password="mine",
        schema="bucket", extra='{"region": "eu-1"}',
    )  # fmt: skip
    found = plugin.settings()
    assert (found.s3_endpoint, found.s3_bucket, found.s3_region) == (
        "https://minio.example.com", "bucket", "eu-1",
    )  # fmt: skip
    assert (found.s3_access_key, found.s3_secret_key) == (SecretStr("me"), SecretStr("mine"))


def test_compose_imports_the_same(
    plugin: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from airflow.secrets.local_filesystem import load_connections_dict

    connections.main()
    file = tmp_path / "connections.json"
    file.write_text(capsys.readouterr().out)
    imported = load_connections_dict(str(file))
    for name, wanted in connections.wanted(Settings()).items():
        assert imported[name].password == wanted.get("password")
        assert imported[name].extra_dejson == json.loads(wanted["extra"])
