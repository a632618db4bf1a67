"""clickhouse-driver (the native protocol in Python) against the embedded ClickHouse server."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ErrorCodes, ServerException

from millrace import waiting
from millrace.lab.engines import Engine, password

TABLE = """
CREATE OR REPLACE TABLE driver_events (
    event_id UUID, event_time DateTime64(3, 'UTC'), event_type LowCardinality(String),
    user_id UInt64, score Nullable(Float64), properties Map(LowCardinality(String), String),
    warnings Array(LowCardinality(String)), parts Array(Nullable(Int32)), is_met Bool,
    window_start DateTime('UTC'), day Date, incarnation UInt8, mode Enum8('on' = 1, 'off' = 2),
    price Decimal(18, 4)
) ENGINE = MergeTree ORDER BY (user_id, event_time)
"""
START = datetime.datetime(2024, 2, 29, 23, 59, 59, 123000, tzinfo=datetime.UTC)
ACCESS_DENIED = 497
FORBIDDEN = (
    "SELECT * FROM millrace.raw_events",
    "SELECT * FROM analytics.stg_events",
    "INSERT INTO analytics.daily_sessions SELECT today(), 1",
    "DROP TABLE analytics.daily_sessions",
    "SELECT * FROM url('http://127.0.0.1/', 'CSV', 'a String')",
)


def connect(server: Engine, account: str = "millrace", database: str = "millrace") -> Client:
    return Client(
        host="127.0.0.1", port=server.native_port, user=account, password=password(account),
        database=database,
    )  # fmt: skip


@pytest.fixture
def owner(server: Engine) -> Iterator[Client]:
    with connect(server) as client:
        yield client


def row(i: int) -> tuple[object, ...]:
    at = START + datetime.timedelta(milliseconds=i * 1001)
    return (
        uuid.UUID(int=i), at, ("view", "ä\t'\\")[i % 2], 2**63 + i, (i / 3, None)[i % 2],
        {"a": str(i)} if i % 2 else {}, ["x", ""][: i % 3], [None, -i][: i % 3], i % 3 == 0,
        at.replace(microsecond=0), at.date(), i % 256, ("on", "off")[i % 2], Decimal(i) / 16,
    )  # fmt: skip


def test_rows_come_back_as_they_went_in(owner: Client) -> None:
    owner.execute(TABLE)
    rows = [row(i) for i in range(20_000)]
    assert owner.execute("INSERT INTO driver_events VALUES", rows) == len(rows)
    assert owner.execute("SELECT * FROM driver_events ORDER BY user_id") == rows
    streamed = owner.execute_iter("SELECT user_id FROM driver_events ORDER BY user_id")
    assert [user for (user,) in streamed] == [2**63 + i for i in range(len(rows))]


def test_parameters(owner: Client) -> None:
    values = {"text": "it's\t\\ä", "day": datetime.date(2024, 2, 29), "ids": (1, 2)}
    sql = "SELECT %(text)s, toDate(%(day)s), 2 IN %(ids)s, %(none)s IS NULL"
    assert owner.execute(sql, values | {"none": None}) == [("it's\t\\ä", values["day"], 1, 1)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELECT * FROM nope", ErrorCodes.UNKNOWN_TABLE), ("SELECT (1", ErrorCodes.SYNTAX_ERROR)],
)
def test_errors_carry_clickhouse_codes(owner: Client, sql: str, code: int) -> None:
    with pytest.raises(ServerException) as caught:
        owner.execute(sql)
    assert caught.value.code == code
    assert owner.execute("SELECT 1") == [(1,)]  # the connection goes on


def test_an_error_in_the_middle_of_a_result(owner: Client) -> None:
    sql = "SELECT number, throwIf(number = 3000000, 'too far') FROM numbers(4000000)"
    with pytest.raises(ServerException, match="too far"):
        list(owner.execute_iter(sql))


def test_progress_and_cancel(server: Engine, owner: Client) -> None:
    running = "SELECT count() FROM system.processes WHERE query_id = 'driver-to-be-cancelled'"
    slow = "SELECT sleep(1) FROM numbers(600) SETTINGS max_block_size = 1"
    with connect(server) as watcher, ThreadPoolExecutor(1) as pool:
        progress = owner.execute_with_progress(slow, query_id="driver-to-be-cancelled")
        first = pool.submit(next, iter(progress))
        waiting.until(lambda: watcher.execute(running)[0][0] == 1, "it to run", seconds=30)
        assert first.result(30)[0] > 0
        owner.cancel()
        waiting.until(lambda: watcher.execute(running)[0][0] == 0, "it to end", seconds=30)


def test_reader_reads_marts_and_nothing_else(server: Engine) -> None:
    with connect(server, "reader", "") as reader:
        assert reader.execute("SELECT sum(sessions) FROM daily_sessions") == [(42,)]
        for sql in FORBIDDEN:
            with pytest.raises(ServerException) as caught:
                reader.execute(sql)
            assert caught.value.code == ACCESS_DENIED, sql
