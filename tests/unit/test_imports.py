"""Rows of any file become events, or are reported with their line and reason."""

from __future__ import annotations

import gzip
import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.imports import convert, files, request
from millrace.imports.convert import BadRowError, Converter, read_time
from millrace.imports.mapping import Mapping, MappingError
from millrace.imports.records import FileError


def converter(mapping: Mapping | None = None, **options: Any) -> Converter:
    return Converter(mapping or Mapping(), **options)


def event_id(event: dict[str, Any], occurrence: int = 0) -> str:
    return convert.event_id(convert.content_digest(event), occurrence)


def test_a_row_fills_the_contract_and_keeps_the_rest() -> None:
    mapping = Mapping(
        columns={"timestamp": "at", "page": "url"},
        constants={"event": "purchase"},
        hashed={"user_id": ["mail"]},
        zone="Europe/Berlin",
    )
    row = {"at": "2026-01-02T12:00:00", "url": "/x", "mail": "a@b", "price": 3, "note": None}
    event = converter(mapping).event(row)
    assert event.pop("user_id") == converter(mapping).event(row)["user_id"] > 0
    assert event == {
        "event": "purchase",
        "timestamp": "2026-01-02T11:00:00.000Z",
        "page": "/x",
        "mail": "a@b",
        "price": 3,
    }


def test_ids_come_from_what_an_event_says_and_how_often_it_was_said() -> None:
    row = {"event": "click", "timestamp": "2026-01-02T00:00:00Z", "user_id": "1", "note": "x"}
    ids = {
        event_id(converter().event(row | {"note": note}), occurrence)
        for note in ("x", "y")
        for occurrence in range(3)
    }
    assert len(ids) == 6
    assert {uuid.UUID(one).version for one in ids} == {5}
    renamed = {"when" if name == "timestamp" else name: row[name] for name in reversed(row)}
    same = converter(Mapping(columns={"timestamp": "when"})).event(renamed | {"empty": ""})
    assert event_id(same) == event_id(converter().event(row))


def test_an_id_is_made_of_named_columns() -> None:
    mapping = Mapping(hashed={"event_id": ["order", "line"]})
    row = {"event": "click", "timestamp": "2026-01-02T00:00:00Z", "user_id": "1"}
    made = [
        converter(mapping).event(row | {"order": order, "line": line, "note": note})["event_id"]
        for order, line, note in [("7", 1, "x"), ("7", "1", "y"), ("7", 2, "x")]
    ]
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    "value",
    ["2026-03-01T10:00:00Z", "2026-03-01T11:00:00+01:00", "2026-03-01 10:00:00", 1772359200,
     "1772359200000", 1772359200000000, "1772359200000000000",
     datetime(2026, 3, 1, 10), datetime(2026, 3, 1, 10, tzinfo=UTC)],
)  # fmt: skip
def test_times_in_every_spelling(value: object) -> None:
    assert read_time(value, UTC) == datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_a_date_is_its_midnight_in_the_files_zone() -> None:
    for day in (date(2026, 7, 1), "2026-07-01", "20260701", 20260701):
        found = read_time(day, ZoneInfo("America/New_York"))
        assert (found.date(), found.hour) == (date(2026, 7, 1), 0)


@pytest.mark.parametrize(
    "value", ["soon", "2026-02-31", "1e300", "", "46082.4", "2026", 0, "20261301", "nan"]
)
def test_what_is_no_time_is_named(value: object) -> None:
    with pytest.raises(BadRowError, match="timestamp"):
        read_time(value, UTC)


def test_times_move_by_whole_days() -> None:
    shift = request.shift_between(datetime(2001, 1, 1, 23, 59, tzinfo=UTC), date(2026, 1, 5))
    row = {"event": "flight", "timestamp": "2001-01-02T00:01:00Z", "user_id": 1}
    event = converter(shift=shift).event(row)
    assert event["timestamp"] == "2026-01-06T00:01:00.000Z"


@pytest.mark.parametrize("missing", ["event", "timestamp", "user_id"])
def test_a_required_field_that_is_empty_makes_a_bad_row(missing: str) -> None:
    row = {"event": "click", "timestamp": "2026-01-02T00:00:00Z", "user_id": 1} | {missing: ""}
    with pytest.raises(BadRowError, match=f"{missing} is empty"):
        converter().event(row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maps": ["timestamp"]}, "--map FIELD=VALUE"),
        ({"maps": ["when=at"]}, "'when' is no field of the contract"),
        ({"maps": ["event=a"], "sets": ["event=b"]}, "filled in two ways"),
        ({"zone": "Mars/Olympus"}, "IANA"),
    ],
)
def test_a_wrong_mapping_is_refused(options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(MappingError, match=message):
        Mapping.build(None, **options)  # type: ignore[arg-type]


def test_a_mapping_must_fit_the_file() -> None:
    with pytest.raises(MappingError, match="no column 'at'; it has a, b"):
        Mapping(columns={"timestamp": "at"}).check_columns(["a", "b"])
    with pytest.raises(MappingError, match="--hash user_id"):
        Mapping(constants={"event": "x"}).check_columns(["timestamp"])


@pytest.mark.parametrize("name", ["m.yaml", "m.toml"])
def test_a_mapping_file_and_options_over_it(tmp_path: Path, name: str) -> None:
    text = {
        "m.yaml": "map: {timestamp: date}\nset: {event: flight}\nhash: {user_id: [a, b]}\n",
        "m.toml": 'map = {timestamp = "date"}\nset = {event = "flight"}\n'
        'hash = {user_id = ["a", "b"]}\n',
    }
    (tmp_path / name).write_text(text[name])
    mapping = Mapping.build(tmp_path / name, sets=["event=trip"])
    assert mapping.columns == {"timestamp": "date"}
    assert mapping.constants == {"event": "trip"}
    assert mapping.hashed == {"user_id": ["a", "b"]}


def test_bad_csv_lines_are_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'a,b\n1,"two\nlines"\n3\n\n4,\xff\n5,six\n')
    rows = [(r.number, r.line, r.row, r.problem) for r in files.rows(path).records()]
    assert rows == [
        (1, 2, {"a": "1", "b": "two\nlines"}, ""),
        (2, 4, {}, "has 1 columns, the header has 2"),
        (3, 6, {}, "is not UTF-8 (give the file's encoding with --encoding)"),
        (4, 7, {"a": "5", "b": "six"}, ""),
    ]


def test_bad_json_lines_are_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson.gz"
    path.write_bytes(gzip.compress(b'{"a":1}\n\n{broken\n[1]\n{"a":2}\n'))
    found = list(files.rows(path).records())
    assert [(r.number, r.line, bool(r.problem)) for r in found] == [
        (1, 1, False), (2, 3, True), (3, 4, True), (4, 5, False),
    ]  # fmt: skip


def test_parquet_rows_come_in_order_across_batches(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"n": range(25_000)}), path)
    assert [r.row["n"] for r in files.rows(path).records()] == list(range(25_000))
    assert files.rows(path).total == 25_000


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"can't tell the format of x\.txt"):
        files.format_of(tmp_path / "x.txt")
    with pytest.raises(FileError, match="save the sheet as “CSV UTF-8”"):
        files.format_of(tmp_path / "x.XLSX")
