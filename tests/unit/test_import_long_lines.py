"""A file whose lines have no end takes no more memory than one whose lines do."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from millrace.imports import check, files, text_files
from millrace.imports.records import FileError, Record
from millrace.imports.text_files import MOST_CHARACTERS, NOT_KEPT

MIB = 1 << 20


def read(path: Path) -> list[tuple[int, Any]]:
    """Return line and row, or line and problem, of each row."""
    return [(one.line, one.problem or one.row) for one in files.rows(path).records()]


def endless(path: Path, start: str) -> Path:
    """Return a file that goes on with NULs, and no end of a line, for 192 MiB."""
    path.write_text(start)
    with path.open("r+b") as file:
        file.truncate(12 * MOST_CHARACTERS)
    return path


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail where as much memory is taken at once as six of the longest lines do."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 6 * MOST_CHARACTERS
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start", "rows"),
    [
        ("x.ndjson", '{"a":"1"}\n', [(1, {"a": "1"}), (2, NOT_KEPT)]),
        ("x.json", '{"a":"1"}\n', [(1, {"a": "1"}), (2, NOT_KEPT)]),
        ("x.csv", "a\n1\n", [(2, {"a": "1"}), (3, NOT_KEPT)]),
        ("x.tsv", "a\n1\n", [(2, {"a": "1"}), (3, NOT_KEPT)]),
    ],
)
def test_a_line_that_never_ends_is_a_bad_row(
    tmp_path: Path, name: str, start: str, rows: list[tuple[int, Any]]
) -> None:
    path = endless(tmp_path / name, start)
    with little_memory():
        assert read(path) == rows


@pytest.mark.slow
def test_a_quoted_value_that_never_ends_spoils_its_own_row_only(tmp_path: Path) -> None:
    path = endless(tmp_path / "x.csv", 'a\n1\n"2\n')
    with little_memory():
        rows = read(path)
    assert rows[0] == (2, {"a": "1"})
    assert rows[-1] == (4, NOT_KEPT)


def test_a_header_that_never_ends_is_refused(tmp_path: Path) -> None:
    path = endless(tmp_path / "x.csv", "a")
    with little_memory(), pytest.raises(FileError, match=r"its header, .* is longer than 16 MiB"):
        files.rows(path)


@pytest.mark.parametrize(
    ("name", "header", "end"),
    [("x.csv", True, "\n"), ("x.csv", True, "\r\n"), ("x.csv", True, "\r"),
     ("x.ndjson", False, "\n"), ("x.ndjson", False, "\r\n")],
)  # fmt: skip
@pytest.mark.parametrize("size", range(24, 36))
def test_rows_around_a_line_that_is_too_long_are_read_with_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, header: bool, end: str, size: int
) -> None:
    monkeypatch.setattr(text_files, "MOST_CHARACTERS", 30)
    values = ["1", "x" * (size - (0 if header else len('{"a":""}'))), "2"]
    written = values if header else [f'{{"a":"{value}"}}' for value in values]
    path = tmp_path / name
    path.write_text("".join(line + end for line in (["a"] if header else []) + written), newline="")

    is_too_long = size + len(end) > 30
    first = 2 if header else 1
    assert read(path) == [
        (first, {"a": "1"}),
        (first + 1, NOT_KEPT if is_too_long else {"a": values[1]}),
        (first + 2, {"a": "2"}),
    ]
    rows = files.rows(path)
    with rows.keeping(tmp_path / "kept") as keeper:
        for record in rows.records():
            if record.problem:
                keeper.add(record)
    assert (tmp_path / "kept").read_text() == ("a\n" if header else "")


class Text(str):
    """A row's text, of which can be known whether it is still held."""

    __slots__ = ("__weakref__",)


class LongBadRows:
    """A hundred bad rows of a mebibyte each."""

    columns = ("a",)
    total = None
    suffix = ".csv"
    most_held = 0

    def records(self) -> Iterator[Record]:
        """Yield them, and note how many of them are held at once."""
        held = weakref.WeakSet[Text]()
        for number in range(1, 101):
            text = Text("x" * MIB)
            held.add(text)
            yield Record(number, number, {}, "is bad", text)
            self.most_held = max(self.most_held, len(held))

    @contextmanager
    def keeping(self, _path: Path) -> Iterator[Any]:
        """Keep nothing."""
        yield SimpleNamespace(add=lambda _record: None)


def test_bad_rows_are_held_no_longer_than_good_ones(tmp_path: Path) -> None:
    rows = LongBadRows()
    job: Any = SimpleNamespace(
        rows=rows, request=SimpleNamespace(path=tmp_path / "x.csv"), digest=b"digest"
    )
    nothing: Any = None
    found = check.check(job, nothing, nothing, MIB, tmp_path, lambda *_: None)
    assert (found.rows, found.bad) == (100, 100)
    assert rows.most_held <= check.BATCH_BYTES // MIB + 2
