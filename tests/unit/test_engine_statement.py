"""What the engine's scan makes of statements."""

from __future__ import annotations

import pytest

from millrace.stack.engine.compression import Decoder, Encoder
from millrace.stack.engine.errors import EngineError
from millrace.stack.engine.statement import scan


@pytest.mark.parametrize(
    ("text", "sql", "data_format", "data"),
    [
        (b"INSERT INTO t VALUES (1)", b"INSERT INTO t ", "Values", b" (1)"),
        (b"insert into t format CSV\n1\n", b"insert into t ", "CSV", b"1\n"),
        (b"INSERT INTO t FORMAT CSV  \r\n 1", b"INSERT INTO t ", "CSV", b" 1"),
        (b"INSERT INTO `values`(`a`) VALUES(1)", b"INSERT INTO `values`(`a`) ", "Values", b"(1)"),
        (b"INSERT INTO db.values VALUES (1)", b"INSERT INTO db.values ", "Values", b" (1)"),
        (b"/*VALUES*/INSERT INTO t --\nVALUES 1", b"/*VALUES*/INSERT INTO t --\n", "Values", b" 1"),
    ],
)  # fmt: skip
def test_inline_data_is_found(text: bytes, sql: bytes, data_format: str, data: bytes) -> None:
    statement = scan(text, complete=True)
    assert statement is not None
    assert (statement.sql, statement.data_format) == (sql, data_format)
    assert text[statement.data_start :] == data


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1 FORMAT Null",
        b"INSERT INTO t (a) WITH 1 AS x SELECT x",
        b"INSERT INTO t (a) (SELECT 'VALUES (1)')",
    ],
)
def test_an_insert_from_a_query_has_no_data(text: bytes) -> None:
    statement = scan(text, complete=True)
    assert statement is not None
    assert (statement.sql, statement.data_format) == (text, None)


@pytest.mark.parametrize("text", [b"INSERT INTO t", b"INSERT INTO t FORMAT CS", b"SELECT 1", b" "])
def test_more_is_asked_for_when_needed(text: bytes) -> None:
    assert scan(text, complete=False) is None


@pytest.mark.parametrize(
    ("text", "output_format", "sql"),
    [
        (b"SELECT 1", None, b"SELECT 1"),
        (b"SELECT 1 FORMAT JSON", "JSON", b"SELECT 1 FORMAT JSON"),
        (b"SELECT 1 FORMAT JSON SETTINGS a = 1;", "JSON", b"SELECT 1 FORMAT JSON SETTINGS a = 1"),
        (b"SELECT format FROM t ; -- FORMAT CSV", None, b"SELECT format FROM t"),
        (b"SELECT 'FORMAT JSON'", None, b"SELECT 'FORMAT JSON'"),
        (b"SELECT (SELECT 1 FORMAT CSV)", None, b"SELECT (SELECT 1 FORMAT CSV)"),
    ],
)
def test_the_output_format_is_found(text: bytes, output_format: str | None, sql: bytes) -> None:
    statement = scan(text, complete=True)
    assert statement is not None
    assert (statement.format, statement.sql) == (output_format, sql)


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
def test_encodings_round_trip_in_pieces(encoding: str) -> None:
    data = b"".join(b"%d," % i for i in range(500_000))
    encoder = Encoder(encoding)
    encoded = encoder.encode(data[:1000]) + encoder.encode(data[1000:]) + encoder.finish()
    decoder = Decoder(encoding)
    pieces = [p for i in range(0, len(encoded), 777) for p in decoder.feed(encoded[i : i + 777])]
    decoder.finish()
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 1 << 20


def test_concatenated_members_are_one_body() -> None:
    encoder, other = Encoder("gzip"), Encoder("gzip")
    encoded = encoder.encode(b"a") + encoder.finish() + other.encode(b"b") + other.finish()
    decoder = Decoder("gzip")
    assert b"".join(decoder.feed(encoded)) == b"ab"


def test_a_body_cut_off_is_refused() -> None:
    encoder = Encoder("zstd")
    encoded = encoder.encode(b"a" * 1000) + encoder.finish()
    decoder = Decoder("zstd")
    list(decoder.feed(encoded[:-3]))
    with pytest.raises(EngineError, match="ends inside"):
        decoder.finish()
