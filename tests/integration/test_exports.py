"""Exports, written by ClickHouse and read back by readers that have nothing to do with it."""

from __future__ import annotations

from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.request import urlopen

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from tests.integration.exports_bed import (
    HOUR,
    ROWS,
    download,
    export,
    insert_events,
    judge,
    manifest,
)

from millrace.contract import locks
from millrace.exports import definitions, on_demand, service
from millrace.exports.definitions import ExportError, PersonalData
from millrace.exports.schemas import compare
from millrace.exports.windows import Window
from millrace.exports.writer import Exporter
from millrace.stores import clickhouse, postgres


def test_independent_readers_agree_with_the_warehouse(exporter: Exporter, tmp_path: Path) -> None:
    settings = exporter.settings
    insert_events(settings, HOUR, ROWS)
    judge(settings, "published", HOUR)
    made = export(exporter, "events")
    assert made["rows"] == ROWS
    found = manifest(settings, "exports/events/date=2026-03-01/hour=07")
    (path,) = download(settings, found, tmp_path)

    truth = exporter.clickhouse.query(
        "SELECT count(), sum(user_id), sum(toUInt64(properties['amount'])), min(event_time), "
        "uniqExact(event_id) FROM events WHERE toStartOfHour(event_time) = %(hour)s",
        parameters={"hour": HOUR},
    ).result_rows[0]

    table = pq.read_table(path)
    schema = table.schema
    assert schema.field("event_time").type == pa.timestamp("ms", "UTC")
    assert schema.field("user_id").type == pa.uint64()
    assert schema.field("event_id").type == pa.string()
    assert pa.types.is_map(schema.field("properties").type)
    amounts = [int(dict(pairs)["amount"]) for pairs in table["properties"].to_pylist()]
    assert (table.num_rows, sum(table["user_id"].to_pylist()), sum(amounts)) == truth[:3]
    times = table["event_time"].to_pylist()
    assert times == sorted(times)
    assert dict(table["geo_location"][0].as_py()) == {"city": "Zürich"}
    group = pq.ParquetFile(path).metadata.row_group(0)
    assert group.column(1).statistics.has_min_max
    assert group.column(1).compression == "ZSTD"

    row = duckdb.sql(
        f"SELECT count(*), sum(user_id), sum(CAST(properties['amount'] AS BIGINT)), "
        f"count(DISTINCT event_id) FROM '{path}'"
    ).fetchall()[0]
    assert row == (truth[0], Decimal(truth[1]), truth[2], truth[4])

    frame = polars.read_parquet(path)
    assert frame.height == truth[0]
    assert frame["user_id"].sum() == truth[1]
    assert frame["event_time"].min() == truth[3].replace(tzinfo=UTC)
    assert frame.schema["event_time"] == polars.Datetime("ms", "UTC")


def test_a_schema_change_is_a_new_version(exporter: Exporter) -> None:
    settings = exporter.settings
    definitions.apply(settings)
    (before,) = definitions.read(exporter.postgres, "events")
    place = "exports/events/date=2026-03-01/hour=07"
    old = manifest(settings, place)
    exporter.postgres.execute(
        "UPDATE export_definitions SET columns = columns || "
        """'[{"name": "is_late", "expression": "received_at > event_time + 60"}]' """
        "WHERE name = 'events'"
    )
    export(exporter, "events")
    new = manifest(settings, place)
    definitions.apply(settings)
    assert definitions.read(exporter.postgres, "events") == [before]
    assert new["schema_version"] == old["schema_version"] + 1
    assert compare(old["schema"], new["schema"]) == {
        "added": ["is_late"],
        "removed": [],
        "retyped": [],
    }
    row = exporter.postgres.execute(
        "SELECT changes FROM export_schemas WHERE name = 'events' AND version = %s",
        [new["schema_version"]],
    ).fetchone()
    assert row["changes"]["added"] == ["is_late"]


def test_raw_archive_keeps_bytes_that_are_not_text(exporter: Exporter, tmp_path: Path) -> None:
    settings = exporter.settings
    value = b'{"event_id": \xff\xfe}\x00'
    clickhouse.connect(exporter.settings).command(
        "INSERT INTO raw_events SELECT 'default', 'events', 0, 1, number, {hour:DateTime64(3)}, "
        "'k', unhex({value:String}), '', 1, {hour:DateTime64(3)} FROM numbers(3)",
        parameters={"hour": HOUR, "value": value.hex()},
    )
    assert export(exporter, "raw_events")["rows"] == 3
    found = manifest(settings, "archive/raw_events/date=2026-03-01/hour=07")
    (path,) = download(settings, found, tmp_path)
    assert pq.read_table(path)["value"].to_pylist() == [value] * 3
    assert polars.read_parquet(path)["value"].to_list() == [value] * 3
    key = found["files"][0]["key"]
    again = exporter.clickhouse.query(
        f"SELECT count(), any(hex(value)) FROM s3(millrace_objects, filename = '{key}', "
        "format = 'Parquet')"
    ).result_rows[0]
    assert again == (3, value.hex().upper())


def test_a_rewrite_that_fails_leaves_a_run_that_failed(exporter: Exporter) -> None:
    export(exporter, "events")
    (definition,) = definitions.read(exporter.postgres, "events")
    place = f"exports/events/date={HOUR:%Y-%m-%d}/hour={HOUR:%H}"
    published = manifest(exporter.settings, place)
    window = Window("events", HOUR, HOUR + timedelta(hours=1))
    with pytest.raises(DatabaseError, match="no_such_column"):
        exporter.rewrite(definition, window, published, place, "no_such_column = 1", {})
    last = "SELECT state, reason FROM export_runs ORDER BY run_id DESC LIMIT 1"
    run = postgres.one(exporter.postgres.execute(last))
    assert run["state"] == "failed"
    assert "no_such_column" in run["reason"]


def test_two_runs_of_a_window_exclude_each_other(exporter: Exporter) -> None:
    with (
        postgres.connect(exporter.settings) as other,
        locks.alone(other, locks.EXPORT, "events", HOUR.isoformat()),
        pytest.raises(ExportError, match="another run"),
    ):
        export(exporter, "events")
    assert export(exporter, "events")["rows"] == ROWS


def test_on_demand_protects_personal_data_and_ends_with_a_link(
    exporter: Exporter, tmp_path: Path
) -> None:
    settings = exporter.settings
    form = {
        "dataset": "events", "start": "2026-03-01T07:00", "end": "2026-03-01T08:00",
        "filters": "country = DE\nevent_type in page_view, purchase", "format": "CSV",
        "personal_data": "hashed",
    }  # fmt: skip
    with pytest.raises(ExportError, match="may have it excluded"):
        service.deliver(settings, form, "ada")
    definitions.grant(settings, "ada", PersonalData.HASHED)
    with pytest.raises(ExportError, match="may have it hashed"):
        service.deliver(settings, {**form, "personal_data": "plain"}, "ada")
    with pytest.raises(ExportError, match="user_id is none of"):
        service.deliver(settings, {**form, "filters": "user_id = 7"}, "ada")
    made = service.deliver(settings, form, "ada")
    path = tmp_path / "made.csv"
    with urlopen(made["link"]) as reply:  # noqa: S310  our own server
        path.write_bytes(reply.read())
    frame = polars.read_csv(path)
    assert frame.height == ROWS // 2
    assert set(frame["country"]) == {"DE"}
    assert frame["user_id"].str.len_chars().unique().to_list() == [64]
    assert frame["user_id"].n_unique() == 50
    hidden = service.deliver(settings, {**form, "personal_data": "excluded"}, "nobody")
    with urlopen(hidden["link"]) as reply:  # noqa: S310  our own server
        header = reply.readline().decode()
    assert "user_id" not in header
    assert "country" in header


def test_a_range_between_seconds_is_one_file_with_all_of_it(exporter: Exporter) -> None:
    settings = exporter.settings
    start = HOUR + timedelta(hours=4)
    insert_events(settings, start, 3_599, first=20_000)  # one a second
    judge(settings, "published", start)
    for first, seconds, rows in ((0.0, 0.5, 1), (0.5, 2.0, 2), (0.5, 3_590.0, 3_590)):
        begin = start + timedelta(seconds=first)
        form = {
            "dataset": "events", "start": begin.isoformat(), "format": "CSV",
            "end": (begin + timedelta(seconds=seconds)).isoformat(),
        }  # fmt: skip
        made = service.deliver(settings, form, "nobody")
        assert made["rows"] == f"{rows:,}"
        with urlopen(made["link"]) as reply:  # noqa: S310  our own server
            assert len(reply.read().splitlines()) == 1 + rows
    with pytest.raises(ExportError, match="nothing matches"):  # no country is a number
        service.deliver(settings, {**form, "filters": "country < 5"}, "nobody")


def test_filters_name_what_does_not_fit(exporter: Exporter) -> None:
    (definition,) = definitions.read(exporter.postgres, "events")
    for text, reason in {
        "country": "is not like",
        "offset > 1": "none of",
        "country = x' OR 1": None,
        "user_id > many": "is no number",
    }.items():
        if reason is None:
            _, values = on_demand.compile_filters(definition, PersonalData.PLAIN, (text,))
            assert values == {"filter_0": "x' OR 1"}
        else:
            with pytest.raises(ExportError, match=reason):
                on_demand.compile_filters(definition, PersonalData.PLAIN, (text,))
