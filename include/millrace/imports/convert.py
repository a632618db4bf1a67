"""Events made of rows."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from millrace.contract import json_text
from millrace.contract.fields import IMPORT_REQUIRED, IMPORTABLE
from millrace.imports.mapping import Mapping, MappingError

Row = dict[str, Any]

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""Between these lie the times that the tables of events hold."""

LEAST_SECONDS = 1e8
"""A smaller number (of before 1973) is a day in another form, which a shift would hide."""

_NAMESPACE = uuid.UUID("6f4cbb1a-33a0-5d8d-9c5e-1b0f3f1f3c52").bytes
_UUID = re.compile("[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}(\\1[0-9a-fA-F]{4}){2}\\1[0-9a-fA-F]{12}")
_WHOLE = re.compile(r"\s*([0-9]+)(?:\.0+)?\s*")
"""A whole number as spreadsheets write it."""


class BadRowError(ValueError):
    """A row that can't become an event; says which field and why."""


class Converter:
    """Makes events of rows: the mapping, the source's own names of fields, a shift of whole days.

    Args:
        mapping: What fills each field.
        columns: The file's columns; empty where each row brings its own.
        field_names: The JSON keys that the source uses in place of the contract's.
        shift: Whole days by which all times move.
        keeps_empty: Whether an empty value is one, as in JSON; elsewhere it is none.
    """

    def __init__(
        self,
        mapping: Mapping,
        columns: Sequence[str] = (),
        field_names: AnyMapping[str, str] | None = None,
        shift: timedelta = timedelta(),
        *,
        keeps_empty: bool = False,
    ) -> None:
        self.keeps_empty = keeps_empty
        self.mapping = mapping
        self.shift = shift
        self.zone = ZoneInfo(mapping.zone)
        names = field_names or {}
        self.keys = {name: names.get(name, name) for name in IMPORTABLE}
        own = {key: name for name, key in self.keys.items()}
        filled = {name for way in mapping.ways() for name in way}
        self.taken = {
            name: mapping.columns.get(name, key if key in columns else name)
            for name, key in self.keys.items()
            if name not in mapping.constants and name not in mapping.hashed
        }
        self.used = set(self.taken.values())
        self.kept = {column: name for name, column in mapping.kept.items()}
        self.reserved = {key for key, name in own.items() if name in filled} - self.used
        self.properties: dict[str, str] = {}
        for column in columns:
            self._property(column)

    def event(self, row: AnyMapping[str, Any]) -> Row:
        """Return the event of a row; without an id, where the row brings none.

        Raises ``BadRowError`` when a field that the contract requires can't be filled, and
        ``MappingError`` where a column would be lost.
        """
        mapping, keys = self.mapping, self.keys
        event: Row = {}
        for name, key in keys.items():
            if name in mapping.constants:
                event[key] = mapping.constants[name]
            elif name in mapping.hashed:
                event[key] = self._hash(name, [row.get(c) for c in mapping.hashed[name]])
            else:
                value = row.get(self.taken[name])
                if not is_absent(value):
                    event[key] = value
        for name in IMPORT_REQUIRED:
            if keys[name] not in event:
                raise BadRowError(f"{name} is empty")
        event[keys["timestamp"]] = self.timestamp(event[keys["timestamp"]])
        event[keys["user_id"]] = _whole(event[keys["user_id"]])
        for column, value in row.items():
            if column not in self.used and (self.keeps_empty or not is_absent(value)):
                name = self.properties.get(column) or self._property(column)
                if name in event:
                    raise _lost(column)
                event[name] = value
        return event

    def _property(self, column: str) -> str:
        """Return the name that a column has among the properties, and remember it."""
        name = self.kept.get(column, column)
        if name in self.reserved and column not in self.used:
            raise _lost(column)
        self.properties[column] = name
        return name

    def timestamp(self, value: object) -> str:
        """Return a row's time as the contract has it. Raises ``BadRowError``."""
        moment = read_time(value, self.zone)
        try:
            moment = (moment + self.shift).astimezone(UTC)
        except (OverflowError, ValueError):
            raise _out_of_range(value) from None
        if not EARLIEST <= moment < LATEST:
            raise _out_of_range(value)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _hash(self, name: str, values: list[object]) -> int | str:
        if all(is_absent(value) for value in values):
            raise BadRowError(f"{name} is empty: {', '.join(self.mapping.hashed[name])} are")
        text = "\x1f".join("" if value is None else _whole(str(value)) for value in values)
        content = text.encode(errors="surrogatepass")
        if name == "event_id":
            return _uuid(content)
        digest = hashlib.blake2b(content, digest_size=8).digest()
        return (int.from_bytes(digest) >> 11) or 1  # below 2^53: exact in JavaScript, too


def content_digest(event: Row) -> bytes:
    """Return what tells an event from others by what it says: 20 bytes.

    The order of its columns plays no part. Raises ``orjson.JSONEncodeError`` where it can't be
    written.
    """
    return hashlib.sha1(json_text.dump(event, is_sorted=True)).digest()  # noqa: S324


def event_id(digest: bytes, occurrence: int) -> str:
    """Return an event's id: of what it says, and how many like it came before it in its file."""
    return _uuid(digest + b"%d" % occurrence)


def canonical(value: object) -> str | None:
    """Return an event's id as the warehouse spells it; nothing where it is no UUID."""
    text = str(value)
    return str(uuid.UUID(text)) if _UUID.fullmatch(text) else None


def _uuid(content: bytes) -> str:
    """Return a name-based UUID (RFC 9562, version 5) in Millrace's own namespace."""
    name = hashlib.sha1(_NAMESPACE + content).digest()  # noqa: S324
    return str(uuid.UUID(bytes=name[:16], version=5))


def read_time(value: object, zone: tzinfo) -> datetime:
    """Return a time with a zone from what files hold: a time, a date, ISO 8601 text, or a number.

    Numbers are seconds since 1970, or milli-, micro- or nanoseconds if they are too large for that;
    eight digits are a day. Raises ``BadRowError`` for anything else.
    """
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day)
    else:
        text = str(value).strip()
        try:
            number = float(text)
        except ValueError:
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                raise BadRowError(f"timestamp {text[:60]!r} is no ISO 8601 time") from None
        else:
            try:
                if abs(number) < LEAST_SECONDS:
                    moment = _compact_date(text)
                else:
                    moment = datetime.fromtimestamp(number / _unit(number), UTC)
            except (OverflowError, OSError, ValueError):
                raise _out_of_range(value) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _lost(column: str) -> MappingError:
    return MappingError(
        f"the column {column!r} is named like a field that is filled otherwise, or like another "
        f"column, so its values would be lost; keep them with --keep ANOTHER_NAME={column}"
    )


def _compact_date(text: str) -> datetime:
    """Return the day that eight digits are (20260301). Raises ``BadRowError``."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise BadRowError(
            f"timestamp {text[:60]!r} is too small a number for seconds since 1970 (spreadsheets "
            "count days: have them write ISO 8601)"
        ) from None


def _unit(number: float) -> int:
    """Return how many of a number's units are a second."""
    for most, unit in ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000)):
        if abs(number) <= most:
            return unit
    return 1_000_000_000


def _out_of_range(value: object) -> BadRowError:
    return BadRowError(
        f"timestamp {str(value)[:60]!r} is out of range: events are from {EARLIEST.year} to "
        f"{LATEST.year - 1}"
    )


def is_absent(value: object) -> bool:
    """Tell whether a row has nothing in a column."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _whole(value: Any) -> Any:
    """Return a user's id without the decimals that spreadsheets give a column with gaps."""
    found = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else value
