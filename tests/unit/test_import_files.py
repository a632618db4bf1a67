"""Files of other people's making are read as they were meant, or refused by name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.contract import json_text
from millrace.imports import files
from millrace.imports.convert import BadRowError, Converter, canonical
from millrace.imports.files import Reading
from millrace.imports.mapping import Mapping, MappingError
from millrace.imports.records import FileError

NEVER = "its quote is never closed (where quote marks mean nothing in this file, give --no-quotes)"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def made(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return made


def read(path: Path, **reading: Any) -> list[tuple[int, Any]]:
    """Return line and row, or line and problem, of each row."""
    rows = files.rows(path, Reading(**reading))
    return [(record.line, record.problem or record.row) for record in rows.records()]


def test_a_quote_that_is_never_closed_takes_its_own_line_only(write):
    path = write("x.csv", 'a,b\n1,"x\n2,y\n3,"z"\n4,w\n')
    assert read(path) == [
        (2, "its quote is closed in the middle of a value, 2 lines further down"),
        (3, {"a": "2", "b": "y"}),
        (4, {"a": "3", "b": "z"}),
        (5, {"a": "4", "b": "w"}),
    ]
    path = write("y.csv", 'a,b\n"1,x\n2,y\n')
    assert read(path) == [(2, NEVER), (3, {"a": "2", "b": "y"})]


def test_a_quote_that_is_closed_by_another_ones_is_told(write):
    path = write("x.tsv", 'n\tsize\n1\t15\n2\t"17\n3\t19\n4\t21"\n5\t23\n')
    assert read(path) == [
        (2, {"n": "1", "size": "15"}),
        (3, "a quoted value in it runs over 3 lines that look like rows themselves: is its quote "
         "closed?"),
        (6, {"n": "5", "size": "23"}),
    ]  # fmt: skip
    assert [row["size"] for _, row in read(path, is_quoted=False)] == [
        "15", '"17', "19", '21"', "23",
    ]  # fmt: skip


def test_lines_within_quotes_are_one_value(write):
    path = write("x.csv", 'a,b\n1,"one, two\nthree, four\n"\n2,x\n')
    assert read(path) == [
        (2, {"a": "1", "b": "one, two\nthree, four\n"}),
        (5, {"a": "2", "b": "x"}),
    ]


@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_large_values_are_whole(write, size):
    assert read(write("x.csv", f'a,b\n1,"{"x" * size}"\n'))[0][1]["b"] == "x" * size


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_delimiters_and_ends_of_lines_are_found(write, delimiter, ends):
    text = ends.join([f"a{delimiter}b", f"1{delimiter}2", f'3{delimiter}"4"', ""])
    assert read(write("x.csv", text)) == [(2, {"a": "1", "b": "2"}), (3, {"a": "3", "b": "4"})]


def test_a_delimiter_that_is_not_sure_is_asked_for(write):
    path = write("x.csv", "a;b|c\n1;2|3\n")
    with pytest.raises(FileError, match="a semicolon and a bar; say which with --delimiter"):
        read(path)
    with pytest.raises(FileError, match="not one character"):
        read(path, delimiter="||")
    assert read(path, delimiter="|") == [(2, {"a;b": "1;2", "c": "3"})]


@pytest.mark.parametrize("name", ["x.tsv", "x.TSV", "x.tsv.gz", "x.Tsv.GZ"])
def test_tabs_separate_whatever_the_case_of_the_name(write, name):
    content = b"a,b\tc\n1,2\t3\n"
    packed = gzip.compress(content) if name.lower().endswith("gz") else content
    assert read(write(name, packed)) == [(2, {"a,b": "1,2", "c": "3"})]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["x.csv", "x.ndjson"])
def test_encodings_that_files_tell_themselves(write, encoding, name):
    text = {"x.csv": "näme\nJörg\n", "x.ndjson": '{"näme": "Jörg"}\n'}[name]
    assert [row for _, row in read(write(name, text.encode(encoding)))] == [{"näme": "Jörg"}]


def test_other_encodings_are_asked_for_and_given(write):
    path = write("x.csv", "näme\nJörg\n".encode("latin-1"))
    with pytest.raises(FileError, match="not UTF-8; give the file's encoding, such as --encoding"):
        read(path)
    assert read(path, encoding="latin-1") == [(2, {"näme": "Jörg"})]
    with pytest.raises(FileError, match="it is not ascii"):
        read(path, encoding="ascii")
    for name in ("klingon", "base64"):
        with pytest.raises(FileError, match=f"no encoding '{name}'"):
            read(path, encoding=name)
    with pytest.raises(FileError, match="--encoding utf-16-le"):
        read(write("y.csv", "a,b\n1,2\n".encode("utf-16-le")))


def test_columns_of_one_name_are_refused(write, tmp_path):
    with pytest.raises(FileError, match="names the column 'note' 2 times"):
        read(write("x.csv", "note,b,note\n1,2,3\n"))
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["note", "note"]), path)
    with pytest.raises(FileError, match="2 columns named 'note'"):
        read(path)


def test_a_column_without_a_name_gets_one(write):
    assert read(write("x.csv", ",a\n0,7\n")) == [(2, {"column_1": "0", "a": "7"})]


@pytest.mark.parametrize("name", ["x.csv.gz", "x.ndjson.gz"])
def test_a_packed_file_that_is_cut_off_is_refused(write, name):
    lines = {"x.csv.gz": "a\n" + "1\n" * 99_999, "x.ndjson.gz": '{"a": 1}\n' * 99_999}[name]
    packed = gzip.compress(lines.encode())
    with pytest.raises(FileError, match="cut off or damaged"):
        read(write(name, packed[: len(packed) // 2]))


def test_a_file_is_unpacked_whatever_its_name(write):
    assert read(write("x.csv", gzip.compress(b"a\n1\n"))) == [(2, {"a": "1"})]


def test_parquet_that_is_cut_off_is_refused(tmp_path):
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    pq.write_table(pa.table({"n": range(100)}), whole)
    cut.write_bytes(whole.read_bytes()[:-10])
    with pytest.raises(FileError, match="cut off or damaged"):
        read(cut)


def test_parquet_text_without_its_mark_is_text(tmp_path):
    path = tmp_path / "x.parquet"
    table = pa.table(
        {
            "event": pa.array([b"flight", b"flight", None], pa.binary()),
            "tags": pa.array([[b"a"], [b"\xff"], []], pa.list_(pa.binary())),
            "limit": pa.array([float("inf"), 1.5, 2.0]),
        }
    )
    pq.write_table(table, path)
    assert read(path) == [
        (1, {"event": "flight", "tags": ["a"], "limit": "inf"}),
        (2, "tags is not UTF-8"),
        (3, {"event": None, "tags": [], "limit": 2.0}),
    ]


def test_parquet_times_beyond_pythons_years_are_told(tmp_path):
    path = tmp_path / "x.parquet"
    far = pa.array([0, 400_000_000_000_000], pa.int64()).cast(pa.timestamp("ms"))
    pq.write_table(pa.table({"at": far, "n": [1, 2]}), path)
    (_, first), (line, problem) = read(path)
    assert first["n"] == 1
    assert (line, problem) == (2, "at is out of range: its time is outside the years 1 to 9999")


def test_json_numbers_keep_their_digits(write):
    line = '{"id":36893488147419103233,"price":12345678901234567.89,"e":1E400,"in":[1.0,{"x":1e2}]}'
    ((_, row),) = read(write("x.ndjson", line))
    assert json_text.dump(row).decode() == line


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"a":1,"a":2}', '{"a":1}'),
        ('{"a":{"b":1,"b":2}, "c":1}', '{"a":{"b":1,"b":2},"c":1}'),
        (r'{"a":"\ud800","b":"\ud83d\ude00"}', r'{"a":"\ud800","b":"\ud83d\ude00"}'),
        (r'{"a":"\u0000"}', r'{"a":"\u0000"}'),
        ("{}", "{}"),
    ],
)
def test_json_is_read_as_the_gate_reads_it(text, kept):
    assert json_text.dump(json_text.read(text)).decode() == kept


@pytest.mark.parametrize("text", ['{"a":NaN}', "[1]", "7", '{"a":1} x', '{"a":', "{'a':1}", ""])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        json_text.read(text)


def test_json_that_is_nested_too_deep_is_told(write):
    deep = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
    assert read(write("x.ndjson", deep + '\n{"a":1}\n')) == [
        (1, "is not JSON that can be read: it is nested too deep"),
        (2, {"a": 1}),
    ]


def test_an_array_of_objects_is_rows(write):
    text = '[\n  {"a": 1,\n   "b": 36893488147419103233},\n  7,\n  {"a": 2}\n]\n'
    rows = read(write("x.json", text))
    assert [line for line, _ in rows] == [2, 4, 5]
    assert json_text.dump(rows[0][1]) == b'{"a":1,"b":36893488147419103233}'
    assert rows[1][1] == "is not JSON: it is no object"
    assert read(write("y.json", '{"a": 1}\n{"a": 2}\n')) == [(1, {"a": 1}), (2, {"a": 2})]
    for cut in ('[{"a": 1}', '[{"a": 1}, {"a"', '[{"a": 1} {"a": 2}]'):
        with pytest.raises(FileError):
            read(write("z.json", cut))


@pytest.mark.parametrize(
    ("name", "content", "bad"),
    [
        ("x.csv", "a;b\r\n1;2\r\n3\r\n4;\"x\r\n5;6", b"a;b\r\n3\r\n4;\"x\r\n"),
        ("x.tsv", "a\tb\n1\n", b"a\tb\n1\n"),
        ("x.ndjson", '{"a":1}\n{broken', b"{broken\n"),
        ("x.json", '[{"a":1}, [2]]', b"[2]\n"),
    ],
)  # fmt: skip
def test_bad_rows_make_a_file_of_the_same_format(write, tmp_path, name, content, bad):
    rows = files.rows(write(name, content))
    kept = tmp_path / f"kept{rows.suffix}"
    with rows.keeping(kept) as keeper:
        for record in rows.records():
            if record.problem:
                keeper.add(record)
    assert kept.read_bytes() == bad


def test_bad_rows_of_parquet_keep_their_types(tmp_path):
    path, kept = tmp_path / "x.parquet", tmp_path / "kept.parquet"
    table = pa.table({"n": pa.array([1, 2, 3], pa.uint8()), "t": pa.array([b"a", b"\xff", b"b"])})
    pq.write_table(table, path)
    rows = files.rows(path)
    with rows.keeping(kept) as keeper:
        for record in rows.records():
            if record.problem:
                keeper.add(record)
    assert pq.read_table(kept) == table.slice(1, 1)


@pytest.mark.parametrize("name", ["m.yaml", "m.toml"])
def test_a_mapping_file_holds_text(tmp_path, name):
    path = tmp_path / name
    text = {
        "m.yaml": "set: {country: NO, page: 0x10, event: on}",
        "m.toml": 'set = {country = "NO"}',
    }
    path.write_text(text[name])
    assert Mapping.build(path).constants["country"] == "NO"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.toml", "set = {country = false}", "set: country must be text, not False"),
        ("m.yaml", "set: {country: [NO]}", "set: country must be text"),
        ("m.yaml", "set: {country: NO, country: SE}", "the key 'country' is there twice"),
        ("m.yaml", "map: {timestamp: a\n", "can't be read"),
        ("m.yaml", "- a", "must hold some of the keys"),
    ],
)
def test_a_mapping_file_that_leaves_a_doubt_is_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(MappingError, match=message):
        Mapping.build(path)


ROW = {"event": "click", "timestamp": "2026-01-02T00:00:00Z", "user_id": "1"}


def test_a_column_named_like_a_field_is_not_lost():
    mapping = Mapping(constants={"country": "NO"}, columns={"user_id": "customer"})
    for column in ("country", "user_id"):
        columns = ["event", "timestamp", "customer", column]
        with pytest.raises(MappingError, match=f"the column '{column}' is named like a field"):
            Converter(mapping, columns)
        with pytest.raises(MappingError, match="--keep"):
            Converter(mapping).event(ROW | {"customer": "2", column: "3"})
        kept = Mapping(mapping.columns, mapping.constants, kept={"was": column})
        row = {"event": "click", "timestamp": ROW["timestamp"], "customer": "2", column: "3"}
        event = Converter(kept, columns).event(row)
        assert (event["was"], event["country"], event["user_id"]) == ("3", "NO", "2")


def test_users_are_the_same_however_a_spreadsheet_writes_their_numbers():
    converter = Converter(Mapping(hashed={"user_id": ["who"]}))
    row = {"event": "click", "timestamp": ROW["timestamp"]}
    made = [converter.event(row | {"who": who})["user_id"] for who in ("34", "34.0", 34, 34.0)]
    assert len(set(made)) == 1
    with pytest.raises(BadRowError, match="user_id is empty: who are"):
        converter.event(row | {"who": ""})


def test_an_empty_value_is_none_but_in_json():
    row = ROW | {"a": "", "b": None, "page": None}
    assert Converter(Mapping()).event(row) == ROW | {"timestamp": "2026-01-02T00:00:00.000Z"}
    kept = Converter(Mapping(), keeps_empty=True).event(row)
    assert (kept["a"], kept["b"], "page" in kept) == ("", None, False)


@pytest.mark.parametrize(
    ("given", "spelt"),
    [
        ("6F4CBB1A-33A0-5D8D-9C5E-1B0F3F1F3C52", "6f4cbb1a-33a0-5d8d-9c5e-1b0f3f1f3c52"),
        ("6f4cbb1a33a05d8d9c5e1b0f3f1f3c52", "6f4cbb1a-33a0-5d8d-9c5e-1b0f3f1f3c52"),
        ("order 7", None),
        (7, None),
    ],
)
def test_ids_are_compared_as_the_warehouse_spells_them(given, spelt):
    assert canonical(given) == spelt


def test_a_source_has_its_own_names():
    names = {"user_id": "uid", "timestamp": "ts"}
    converter = Converter(Mapping(columns={"timestamp": "at"}), ["event", "at", "uid"], names)
    event = converter.event({"event": "click", "at": ROW["timestamp"], "uid": "7", "x": 1})
    assert event == {"event": "click", "ts": "2026-01-02T00:00:00.000Z", "uid": "7", "x": 1}


@pytest.mark.parametrize(
    ("given", "kept"),
    [("34.0", "34"), (" 34 ", "34"), ("34.00", "34"), ("34.5", "34.5"), (34.0, 34.0), ("x", "x")],
)
def test_a_users_id_from_a_spreadsheet_is_whole(given, kept):
    assert Converter(Mapping()).event(ROW | {"user_id": given})["user_id"] == kept
