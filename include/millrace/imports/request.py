"""What is asked of an import, and all that has to be known before a row is read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import DictRow

from millrace.contract import sources
from millrace.contract.sources import Source
from millrace.imports import files
from millrace.imports.convert import BadRowError, Converter, read_time
from millrace.imports.files import Reading
from millrace.imports.mapping import Mapping, MappingError
from millrace.imports.records import FileError, Rows

MOST_DAYS = 36_525


@dataclass(frozen=True)
class Request:
    """An import as a person asks for it.

    Args:
        path: The file.
        mapping: What fills the fields.
        topic: Where the events go; a source must read it.
        reading: How the file is to be read.
        shift_to: The day that the first row's day becomes.
        shift_days: Whole days by which times move; instead of ``shift_to``.
        is_again: Send although the file was sent with another mapping.
    """

    path: Path
    mapping: Mapping
    topic: str
    reading: Reading = field(default_factory=Reading)
    shift_to: date | None = None
    shift_days: int | None = None
    is_again: bool = False


@dataclass
class Job:
    """An import that can begin: the file is known, and who reads the topic."""

    request: Request
    source: Source
    digest: bytes
    shift: timedelta
    rows: Rows
    converter: Converter
    stat: tuple[int, int]

    @cached_property
    def how(self) -> dict[str, Any]:
        """All that the events depend on besides the file, as plain values."""
        return {
            **self.request.mapping.as_json(),
            **self.request.reading.as_json(),
            "shift_days": self.shift.days,
        }

    @cached_property
    def reading(self) -> str:
        """What tells this way of reading the file from others."""
        return hashlib.sha256(json.dumps(self.how, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def is_unchanged(self) -> bool:
        """Whether the file is what it was at the beginning."""
        return _stat(self.request.path) == self.stat


def open_file(request: Request) -> Rows:
    """Open the file, as far as that needs no server.

    Raises ``MappingError`` when the mapping does not fit, ``FileError`` when the file can't be
    read, and ``OSError`` when it is not there.
    """
    if request.shift_to is not None and request.shift_days is not None:
        raise MappingError("give --shift-to or --shift-days, not both")
    if abs(request.shift_days or 0) > MOST_DAYS:
        raise MappingError(f"--shift-days {request.shift_days} is more than a century")
    rows = files.rows(request.path, request.reading)
    if rows.columns:
        request.mapping.check_columns(rows.columns)
    return rows


def prepare(request: Request, rows: Rows, connection: psycopg.Connection[DictRow]) -> Job:
    """Find the source, and how its events are made of the file's rows.

    Raises ``MappingError`` when the mapping or the topic does not fit, and ``FileError`` when the
    file can't be read.
    """
    stat = _stat(request.path)
    digest = files.digest(request.path)
    source = _source(request.topic, connection)
    if next(rows.records(), None) is None:
        raise FileError("it holds no rows")
    readable = (record.row for record in rows.records() if not record.problem)
    names = rows.columns or list(next(readable, {}))
    shift = _shift(request, rows, source.field_names)
    converter = Converter(
        request.mapping,
        names,
        source.field_names,
        shift,
        keeps_empty=not rows.columns,
    )
    return Job(request, source, digest, shift, rows, converter, stat)


def shift_between(first: datetime, day: date) -> timedelta:
    """Return the whole days that move the first row's (UTC) day to ``day``."""
    return timedelta(days=(day - first.astimezone(UTC).date()).days)


def _source(topic: str, connection: psycopg.Connection[DictRow]) -> Source:
    every = sources.every(connection)
    found = [source for source in every if source.topic == topic]
    for source in found:
        if source.is_active:
            return source
    topics = ", ".join(sorted({source.topic for source in every if source.is_active})) or "none"
    if found:
        raise MappingError(
            f"source {found[0].source_id!r}, which reads topic {topic!r}, is switched off, so "
            f"nothing would be loaded; topics that are read: {topics}"
        )
    raise MappingError(
        f"no source reads topic {topic!r}, so nothing would be loaded; topics that are read: "
        f"{topics}"
    )


def _shift(request: Request, rows: Rows, names: dict[str, str]) -> timedelta:
    if request.shift_days is not None:
        return timedelta(days=request.shift_days)
    if request.shift_to is None:
        return timedelta()
    mapping = request.mapping
    column = mapping.columns.get("timestamp", "timestamp")
    for record in rows.records():
        value = record.row.get(column, record.row.get(names.get("timestamp", "")))
        try:
            first = read_time(mapping.constants.get("timestamp", value), ZoneInfo(mapping.zone))
            return shift_between(first, request.shift_to)
        except (BadRowError, OverflowError):
            continue
    raise MappingError("no row has a time in its timestamp column; see --map timestamp=")


def _stat(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
