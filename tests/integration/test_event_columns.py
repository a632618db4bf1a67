"""Tables of events follow the event contract."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from millrace.contract import schema
from millrace.contract.fields import COLUMNS, Field
from millrace.settings import Settings
from millrace.stores import clickhouse

NEW = Field("campaign", "campaign_name", "LowCardinality(String)", "What's it that led here")


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with clickhouse.connect(settings) as client:
        yield client


@pytest.fixture
def table(client: Client) -> Iterator[str]:
    name = f"events_{uuid.uuid4().hex}"
    client.command(f"CREATE TABLE {name} AS events")
    yield name
    client.command(f"DROP TABLE {name} SYNC")


def described(client: Client, table: str) -> dict[str, tuple[str, str]]:
    rows = client.query(f"DESCRIBE TABLE {table}").result_rows
    return {row[0]: (row[1], row[4]) for row in rows}


def test_a_table_gets_the_column_of_a_new_field_once(client: Client, table: str) -> None:
    columns = (*COLUMNS[:5], NEW, *COLUMNS[5:])
    added = schema.add_missing_columns(client, [table, "no_such_table"], columns=columns)
    assert added == [f"{table}.campaign_name"]
    found = described(client, table)
    assert found["campaign_name"] == (NEW.type, NEW.meaning)
    order = list(found)
    assert order[order.index(COLUMNS[4].column) + 1] == "campaign_name"
    assert schema.add_missing_columns(client, [table], columns=columns) == []


def test_the_tables_of_this_version_lack_nothing(client: Client, table: str) -> None:
    assert schema.add_missing_columns(client, [table, "events"]) == []
    types = {name: kind for name, (kind, _) in described(client, table).items()}
    assert {column.column: types[column.column] for column in COLUMNS} == {
        column.column: column.type for column in COLUMNS
    }
