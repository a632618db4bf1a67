"""Parquet, by PyArrow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from millrace.imports.records import FileError, Keeper, Record

BATCH_ROWS = 10_000


class Parquet:
    """The rows of a Parquet file; a row's line is its number."""

    suffix = ".parquet"

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet

        self.path = path
        try:
            self.schema = pyarrow.parquet.read_schema(path)
            self.total: int | None = int(pyarrow.parquet.read_metadata(path).num_rows)
        except pyarrow.ArrowException as error:
            raise FileError(f"it is cut off or damaged, or no Parquet: {error}") from error
        self.columns: list[str] = list(self.schema.names)
        for name, times in Counter(self.columns).items():
            if times > 1:
                raise FileError(
                    f"it has {times} columns named {name!r}, so that it is not known which one is "
                    "meant; give each a name of its own"
                )

    def records(self) -> Iterator[Record]:
        """Yield every row in order. Raises ``FileError``, or ``OSError``."""
        import pyarrow.parquet

        number = 0
        try:
            for batch in pyarrow.parquet.ParquetFile(self.path).iter_batches(BATCH_ROWS):
                for at, (row, problem) in enumerate(_rows(batch)):
                    number += 1
                    yield Record(number, number, row, problem, (batch, at))
        except (pyarrow.ArrowException, OSError) as error:
            raise FileError(f"it is damaged after row {number}: {error}") from error

    @contextmanager
    def keeping(self, path: Path) -> Iterator[Keeper]:
        """Open another file, recreated, for rows of this one."""
        import pyarrow.parquet

        with pyarrow.parquet.ParquetWriter(path, self.schema) as writer:
            keeper = _Keeper(writer)
            yield keeper
            keeper.flush()


class _Keeper:
    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.held: list[Any] = []

    def add(self, record: Record) -> None:
        batch, at = record.source
        self.held.append(batch.slice(at, 1))
        if len(self.held) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        import pyarrow

        if self.held:
            self.writer.write_table(pyarrow.Table.from_batches(self.held).combine_chunks())
        self.held = []


def _rows(batch: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield a batch's rows as values that JSON has, or why a row can't be told in them."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):  # a time outside the years that Python knows
        for at in range(batch.num_rows):
            yield _row(batch.slice(at, 1))
        return
    odd = [column.name for column in batch.schema if not _is_plain(column.type)]
    for row in rows:
        name = ""
        try:
            for name in odd:
                row[name] = _plain(row[name])
        except UnicodeDecodeError:
            yield {}, f"{name} is not UTF-8"
        else:
            yield row, ""


def _row(batch: Any) -> tuple[dict[str, Any], str]:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = _plain(column[0].as_py())
        except UnicodeDecodeError:
            return {}, f"{name} is not UTF-8"
        except (ValueError, OverflowError):
            return {}, f"{name} is out of range: its time is outside the years 1 to 9999"
    return row, ""


def _is_plain(kind: Any) -> bool:
    """Tell whether JSON has all values of a type."""
    from pyarrow import types

    checks = (types.is_integer, types.is_string, types.is_large_string, types.is_boolean)
    return any(check(kind) for check in (*checks, types.is_temporal, types.is_null))


def _plain(value: Any) -> Any:
    """Return a value as JSON can have it; bytes are text, whose mark many writers leave out.

    Raises ``UnicodeDecodeError`` where they are not.
    """
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) or math.isnan(value) else str(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):  # an entry of a map
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(_plain(name)): _plain(item) for name, item in value.items()}
    return value if isinstance(value, date | datetime | time) else str(value)
