"""``up`` makes Airflow's connections, follows the settings, and leaves people's edits alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from millrace.settings import Settings
from millrace.stack import connections


class Airflow:
    """As much of Airflow's REST API as connections need; passwords are masked."""

    def __init__(self) -> None:
        self.connections: dict[str, dict[str, Any]] = {}
        self.client = httpx.Client(
            transport=httpx.MockTransport(self.answer), base_url="http://airflow/api/v2"
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request as Airflow does."""
        if request.method == "GET":
            shown = [
                found | {"password": found.get("password") and connections.MASK}
                for found in self.connections.values()
            ]
            return httpx.Response(200, json={"connections": shown})
        body = json.loads(request.content)
        if request.method == "POST":
            self.connections[body["connection_id"]] = body
        else:
            changes = {name: body[name] for name in request.url.params.get_list("update_mask")}
            self.connections[body["connection_id"]] |= changes
        return httpx.Response(200, json={})


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "airflow").mkdir()
    return Settings(
        home=tmp_path,
        clickhouse_operator_password=SecretStr("operator-secret"),
        postgres_password=SecretStr("postgres-secret"),
        s3_secret_key=SecretStr("s3-secret"),
    )


def test_they_are_made_once(airflow: Airflow, settings: Settings) -> None:
    made = connections.ensure(airflow.client, settings)
    assert set(made) == {"clickhouse_default", "postgres_default", "kafka_default", "s3_default"}
    assert airflow.connections["clickhouse_default"]["login"] == "operator"
    assert airflow.connections["clickhouse_default"]["password"] == "operator-secret"
    assert connections.ensure(airflow.client, settings) == []


def test_a_record_that_was_cut_short_is_none(airflow: Airflow, settings: Settings) -> None:
    connections.ensure(airflow.client, settings)
    record = settings.home / "airflow" / "connections.json"
    record.write_text(record.read_text()[:20])
    assert connections.ensure(airflow.client, settings) == []


def test_what_is_recorded_of_them_holds_no_secret(airflow: Airflow, settings: Settings) -> None:
    connections.ensure(airflow.client, settings)
    record = settings.home / "airflow" / "connections.json"
    assert record.stat().st_mode & 0o777 == 0o600
    for secret in ("operator-secret", "postgres-secret", "s3-secret"):
        assert secret not in record.read_text()


def test_they_follow_the_settings(airflow: Airflow, settings: Settings) -> None:
    connections.ensure(airflow.client, settings)
    moved = settings.model_copy(
        update={"kafka_bootstrap_servers": "elsewhere:9092", "s3_secret_key": SecretStr("new")}
    )
    assert connections.ensure(airflow.client, moved) == ["kafka_default", "s3_default"]
    assert "elsewhere:9092" in airflow.connections["kafka_default"]["extra"]
    assert airflow.connections["s3_default"]["password"] == "new"


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("clickhouse_default", "host", "elsewhere"),
        ("postgres_default", "login", "me"),
        ("kafka_default", "extra", '{"bootstrap.servers": "elsewhere:9092"}'),
        ("s3_default", "schema", "another"),
    ],
)
def test_an_edit_survives(
    airflow: Airflow, settings: Settings, name: str, field: str, value: str
) -> None:
    connections.ensure(airflow.client, settings)
    airflow.connections[name][field] = value
    edited = dict(airflow.connections[name])
    moved = Settings(home=settings.home, port_base=20_000, s3_secret_key=SecretStr("new"))
    assert name not in connections.ensure(airflow.client, moved)
    assert airflow.connections[name] == edited


def test_a_password_survives_a_change_of_the_address(airflow: Airflow, settings: Settings) -> None:
    connections.ensure(airflow.client, settings)
    airflow.connections["postgres_default"]["password"] = "edited"
    moved = settings.model_copy(update={"postgres_url": "postgresql://millrace@db:5432/millrace"})
    assert connections.ensure(airflow.client, moved) == ["postgres_default"]
    assert airflow.connections["postgres_default"]["host"] == "db"
    assert airflow.connections["postgres_default"]["password"] == "edited"


def test_one_that_was_there_before_is_left_alone(airflow: Airflow, settings: Settings) -> None:
    airflow.connections["kafka_default"] = {"connection_id": "kafka_default", "conn_type": "kafka"}
    assert "kafka_default" not in connections.ensure(airflow.client, settings)
