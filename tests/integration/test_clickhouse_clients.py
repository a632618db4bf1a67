"""Every call of a ClickHouse client that Millrace makes, against the embedded server."""

from __future__ import annotations

import datetime
import json

import polars
import pyarrow
import pytest
import sqlalchemy
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData

from millrace.lab.engines import Engine, password

COLUMNS = (
    "id UInt64, name String, at DateTime64(3, 'UTC'), tags Map(LowCardinality(String), String), "
    "kind LowCardinality(String), uuid UUID, parts Array(Nullable(Int32))"
)
ROWS = [
    [1, "ä\t'\\", datetime.datetime(2024, 1, 1, 0, 0, 0, 1000), {"a": "b"}, "k", None, [1, None]],
    [2, "", datetime.datetime(1970, 1, 1), {}, "", None, []],
]


@pytest.fixture
def table(engine: Engine) -> str:
    engine.text("CREATE OR REPLACE TABLE calls (" + COLUMNS + ") ENGINE = MergeTree ORDER BY id")
    return "calls"


def test_handshake_reports_version_zone_and_settings(engine: Engine) -> None:
    client = engine.client()
    assert client.server_version.startswith("26.")
    assert str(client.server_tz) == "UTC"
    assert client.server_settings["deduplicate_blocks_in_dependent_materialized_views"].value == "1"
    assert client.ping()


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_rows_inserted_come_back_as_they_went_in(
    engine: Engine, table: str, compress: bool | str
) -> None:
    client = engine.client(compress=compress)
    rows = [[*row[:5], f"00000000-0000-0000-0000-00000000000{row[0]}", row[6]] for row in ROWS]
    summary = client.insert(table, rows, column_names=[c.split()[0] for c in COLUMN_LIST])
    assert summary.written_rows == 2
    assert summary.query_id()
    back = client.query(f"SELECT * FROM {table} ORDER BY id").result_rows
    assert [[str(v) if i == 5 else v for i, v in enumerate(row)] for row in back] == rows


COLUMN_LIST = ["id", "name", "at", "tags", "kind", "uuid", "parts"]


def test_arrow_in_and_out(engine: Engine, table: str) -> None:
    client = engine.client()
    data = pyarrow.table({"id": pyarrow.array(range(100_000), pyarrow.uint64())})
    assert client.insert_arrow(table, data).written_rows == 100_000
    sql = f"SELECT id FROM {table} ORDER BY id"
    assert client.query_arrow(sql).column("id").to_pylist() == list(range(100_000))
    with client.query_arrow_stream(sql) as batches:
        assert sum(batch.num_rows for batch in batches) == 100_000


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "lz4"])
def test_raw_insert_and_raw_query(engine: Engine, table: str, compression: str | None) -> None:
    client = engine.client()
    lines = b"".join(b'{"id":%d,"name":"x"}\n' % i for i in range(1000))
    body = lines
    if compression:
        from clickhouse_connect.driver.compression import get_compressor

        compressor = get_compressor(compression)
        body = bytes(compressor.compress_block(lines)) + bytes(compressor.flush() or b"")
    client.raw_insert(table, ["id", "name"], body, fmt="JSONEachRow", compression=compression or "")
    assert client.command(f"SELECT count(), sum(id) FROM {table}") == ["1000", "499500"]
    with client.raw_stream(f"SELECT id FROM {table} ORDER BY id", fmt="CSV") as stream:
        assert stream.read().split() == [str(i).encode() for i in range(1000)]


def test_a_generator_is_streamed_into_an_insert(engine: Engine, table: str) -> None:
    lines = (b'{"id":%d}\n' % i for i in range(200_000))
    engine.client().raw_insert(table, ["id"], lines, fmt="JSONEachRow")
    assert engine.text(f"SELECT count() FROM {table}") == "200000"


def test_parameters_are_bound_on_the_server(engine: Engine, table: str) -> None:
    client = engine.client()
    values = {
        "a": 5,
        "b": "it's\t\\x\n",
        "c": ["x'y", "z"],
        "d": datetime.datetime(2024, 1, 1, 1, 2, 3),
        "e": "ä" * 100_000,
        "t": table,
        "n": None,
    }
    sql = (
        "SELECT {a:UInt64}, {b:String}, {c:Array(String)}, {d:DateTime64(3)}, length({e:String}), "
        "count(), {n:Nullable(String)} FROM {t:Identifier}"
    )
    assert client.query(sql, parameters=values).result_rows == [
        (5, values["b"], values["c"], values["d"], 200_000, 0, None)
    ]
    few = {"t": table, "a": 5}
    client.command("INSERT INTO {t:Identifier} (id) VALUES ({a:UInt64})", parameters=few)
    assert client.command(f"SELECT id FROM {table}") == 5


def test_settings_apply_to_their_request_alone(engine: Engine) -> None:
    client = engine.client()
    sql = "SELECT value FROM system.settings WHERE name = 'max_result_bytes'"
    before = client.command(sql)
    assert client.command(sql, settings={"max_result_bytes": 123456}) == 123456
    assert client.command(sql) == before


def test_limit_zero_names_and_types_columns(engine: Engine, table: str) -> None:
    result = engine.client().query(f"SELECT id, name FROM {table} LIMIT 0")
    assert result.column_names == ("id", "name")


def test_external_data_is_a_table_of_its_query(engine: Engine) -> None:
    data = ExternalData(
        file_name="ids.csv", data=b"1,a\n2,b\n", fmt="CSV", structure=["id UInt8", "name String"]
    )
    sql = "SELECT name FROM ids ORDER BY id"
    assert engine.client().query(sql, external_data=data).result_rows == [("a",), ("b",)]
    assert engine.ask("SELECT * FROM ids").status_code == 404


def test_an_error_in_the_middle_of_a_stream_reaches_the_client(engine: Engine) -> None:
    sql = "SELECT number, throwIf(number = 3000000, 'too far') FROM numbers(4000000)"
    with (
        pytest.raises(StreamFailureError, match="too far"),
        engine.client().query_row_block_stream(sql) as blocks,
    ):
        for _ in blocks:
            pass


@pytest.mark.parametrize(
    ("sql", "code"), [("SELECT * FROM nope", 60), ("SELECT (1", 62), ("SELECT nope()", 46)]
)
def test_errors_carry_clickhouse_codes(engine: Engine, sql: str, code: int) -> None:
    with pytest.raises(DatabaseError) as caught:
        engine.client().query(sql)
    assert caught.value.code == code


def test_temporary_tables_live_in_their_session(engine: Engine) -> None:
    mine, other = engine.client(session_id="mine"), engine.client(session_id="other")
    mine.command("CREATE TEMPORARY TABLE scratch (id UInt64)")
    mine.insert("scratch", [[1], [2]], column_names=["id"])
    mine.insert_arrow("scratch", pyarrow.table({"id": pyarrow.array([3], pyarrow.uint64())}))
    assert mine.command("SELECT sum(id) FROM scratch") == 6
    with pytest.raises(DatabaseError, match="scratch"):
        other.command("SELECT * FROM scratch")


def test_insert_tokens_deduplicate_through_materialized_views(engine: Engine) -> None:
    client = engine.client()
    window = "SETTINGS non_replicated_deduplication_window = 100"
    for statement in (
        "DROP TABLE IF EXISTS per_kind_view",
        f"CREATE OR REPLACE TABLE tokens (kind String) ENGINE = MergeTree ORDER BY kind {window}",
        "CREATE OR REPLACE TABLE per_kind (kind String, n UInt64) ENGINE = SummingMergeTree "
        f"ORDER BY kind {window}",
        "CREATE MATERIALIZED VIEW per_kind_view TO per_kind AS "
        "SELECT kind, count() AS n FROM tokens GROUP BY kind",
    ):
        client.command(statement)
    for token in ("one", "one", "two"):
        settings = {"insert_deduplication_token": token}
        client.insert("tokens", [["a"], ["b"]], column_names=["kind"], settings=settings)
    assert client.query("SELECT count() FROM tokens").result_rows == [(4,)]
    assert client.query("SELECT sum(n) FROM per_kind").result_rows == [(4,)]


def test_a_join_changes_no_later_count(engine: Engine) -> None:
    client = engine.client()
    for statement in (
        "CREATE OR REPLACE TABLE counted (id UInt64, kind UInt64) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO counted SELECT number, number % 1000 FROM numbers(2000)",
        "CREATE OR REPLACE TABLE chosen (kind UInt64) ENGINE = MergeTree ORDER BY kind",
        "INSERT INTO chosen VALUES (3)",
    ):
        client.command(statement)
    condition = "(id + kind) % 7 = 3"
    sql = f"SELECT count() FROM counted WHERE {condition}"
    truth = client.command(f"SELECT countIf({condition}) FROM counted")
    # Reads the rows of one kind, none of which meets the condition.
    client.command(f"SELECT count() FROM counted INNER JOIN chosen USING (kind) WHERE {condition}")
    assert client.command(sql) == truth > 0


@pytest.mark.parametrize("output_format", ["JSON", "Parquet", "TabSeparatedWithNamesAndTypes"])
def test_large_framed_results_are_whole(engine: Engine, output_format: str) -> None:
    rows = 1_000_000
    body = engine.client().raw_query(f"SELECT number FROM numbers({rows})", fmt=output_format)
    if output_format == "JSON":
        assert len(json.loads(body)["data"]) == rows
    elif output_format == "Parquet":
        assert polars.read_parquet(body).height == rows
    else:
        assert body.count(b"\n") == rows + 2


def test_sqlalchemy_over_http(engine: Engine) -> None:
    url = sqlalchemy.URL.create(
        "clickhouse+http", "millrace", password("millrace"), "127.0.0.1", engine.port, "millrace"
    )
    connectable = sqlalchemy.create_engine(url)
    with connectable.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT number, 'x' FROM numbers(2)")).fetchall()
        assert rows == [(0, "x"), (1, "x")]
    assert sqlalchemy.inspect(connectable).get_table_names() is not None


def test_airflow_hook(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.clickhousedb.hooks.clickhouse import ClickHouseHook

    connection = {
        "conn_type": "clickhouse",
        "host": "127.0.0.1",
        "port": engine.port,
        "login": "millrace",
        "password": password("millrace"),
        "schema": "millrace",
    }
    monkeypatch.setenv("AIRFLOW_CONN_CLICKHOUSE_DEFAULT", json.dumps(connection))
    hook = ClickHouseHook()
    assert hook.get_records("SELECT number FROM numbers(2)") == [(0,), (1,)]
    assert hook.test_connection()[0]
