"""How a file's columns become the fields of the event contract."""

from __future__ import annotations

import hashlib
import math
import tomllib
import uuid
from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from millrace.contract.fields import IMPORT_REQUIRED, IMPORTABLE

Row = dict[str, Any]


class MappingError(ValueError):
    """A mapping that can't be used; says what to change."""


class BadRowError(ValueError):
    """A row that can't become an event; says which field and why."""


@dataclass(frozen=True)
class Mapping:
    """What fills each field of the contract.

    ``columns`` takes a field from a column, ``constants`` gives it a value, ``hashed`` makes a
    positive integer of the values of several columns (for a file without user ids).
    ``zone`` is that of times without one. A column of a field's own name fills it unasked.
    """

    columns: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    hashed: dict[str, list[str]] = field(default_factory=dict)
    zone: str = "UTC"

    @classmethod
    def build(
        cls,
        file: Path | None,
        *,
        maps: Sequence[str] = (),
        sets: Sequence[str] = (),
        hashes: Sequence[str] = (),
        zone: str = "",
    ) -> Mapping:
        """Read a mapping file (YAML or TOML) and lay ``FIELD=…`` options over it.

        Raises ``MappingError`` for an unknown key, field or zone, or an option without ``=``.
        """
        loaded = _load(file) if file else {}
        unknown = sorted(set(loaded) - {"map", "set", "hash", "zone"})
        if unknown:
            raise MappingError(f"{file}: unknown key {unknown[0]!r}; use map, set, hash and zone")
        hashed = {name: _names(columns) for name, columns in _section(loaded, "hash").items()}
        made = cls(
            columns=_section(loaded, "map") | _options(maps, "--map"),
            constants=_section(loaded, "set") | _options(sets, "--set"),
            hashed=hashed | {n: _names(c) for n, c in _options(hashes, "--hash").items()},
            zone=zone or str(loaded.get("zone", "UTC")),
        )
        made.check()
        return made

    def check(self) -> None:
        """Raise ``MappingError`` unless every name is a field of the contract, filled one way."""
        ways: list[AnyMapping[str, object]] = [self.columns, self.constants, self.hashed]
        for name in {name for way in ways for name in way}:
            if name not in IMPORTABLE:
                raise MappingError(
                    f"{name!r} is no field of the contract ({', '.join(IMPORTABLE)}); a column "
                    "that is not mapped is kept in properties by itself"
                )
            if sum(name in way for way in ways) > 1:
                raise MappingError(f"{name!r} is filled in two ways; leave one of them out")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise MappingError(f"zone {self.zone!r} is not in the IANA time zone list") from error

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raise ``MappingError`` when the file lacks a column that is needed."""
        wanted = {*self.columns.values(), *(c for several in self.hashed.values() for c in several)}
        for column in sorted(wanted - set(columns)):
            raise MappingError(f"the file has no column {column!r}; it has {', '.join(columns)}")
        for name in IMPORT_REQUIRED:
            filled = {*self.columns, *self.constants, *self.hashed, *columns}
            if name not in filled:
                raise MappingError(
                    f"nothing fills {name!r}: name its column with --map {name}=COLUMN, "
                    f"give a value with --set {name}=VALUE"
                    + (", or make one with --hash user_id=COLUMNS" if name == "user_id" else "")
                )

    def as_json(self) -> dict[str, Any]:
        """Return the mapping as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Converter:
    """Makes events of rows: the mapping, the file's identity, and a shift of whole days."""

    mapping: Mapping
    digest: bytes
    shift: timedelta = timedelta()

    def event(self, number: int, row: AnyMapping[str, Any]) -> Row:
        """Return the event of the row with this number (from 1).

        Raises ``BadRowError`` when a field that the contract requires can't be filled.
        """
        mapping = self.mapping
        used = set(mapping.columns.values())
        event: Row = {}
        for name in IMPORTABLE:
            if name in mapping.constants:
                event[name] = mapping.constants[name]
            elif name in mapping.hashed:
                event[name] = _hash([row.get(column) for column in mapping.hashed[name]])
            else:
                value = row.get(mapping.columns.get(name, name))
                if not _is_absent(value):
                    event[name] = value
        for name in IMPORT_REQUIRED:
            if name not in event:
                raise BadRowError(f"{name} is empty")
        event["timestamp"] = self._timestamp(event["timestamp"])
        event.setdefault("event_id", event_id(self.digest, number))
        for column, value in row.items():
            if column not in used and column not in IMPORTABLE and not _is_absent(value):
                event[column] = value
        return event

    def _timestamp(self, value: object) -> str:
        moment = read_time(value, ZoneInfo(self.mapping.zone)) + self.shift
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_id(digest: bytes, number: int) -> str:
    """Return a row's id: a name-based UUID (RFC 9562, version 5) of the file and the row's number.

    The same bytes in a file of any name give the same ids.
    """
    return str(
        uuid.UUID(bytes=hashlib.sha1(digest + b"%d" % number).digest()[:16], version=5)  # noqa: S324
    )


def read_time(value: object, zone: tzinfo) -> datetime:
    """Return a time with a zone from what files hold: a time, a date, ISO 8601 text, or a number.

    Numbers are seconds since 1970, or milliseconds if they are too large for that. Raises
    ``BadRowError`` for anything else.
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
                seconds = number / 1000 if abs(number) > 1e11 else number
                moment = datetime.fromtimestamp(seconds, UTC)
            except (OverflowError, OSError, ValueError):
                raise BadRowError(f"timestamp {text[:60]!r} is out of range") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _is_absent(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _hash(values: list[object]) -> int:
    """Return a positive integer below 2^53 (exact in JavaScript too) of some values."""
    text = "\x1f".join("" if value is None else str(value) for value in values)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) or 1


def _load(file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    try:
        loaded = tomllib.loads(text) if file.suffix == ".toml" else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise MappingError(f"{file} can't be read: {error}") from error
    if not isinstance(loaded, dict):
        raise MappingError(f"{file} must hold the keys map, set, hash and zone")
    return loaded


def _section(loaded: dict[str, Any], name: str) -> dict[str, Any]:
    section = loaded.get(name) or {}
    if not isinstance(section, dict):
        raise MappingError(f"{name!r} must hold one line per field, FIELD: VALUE")
    return section


def _options(options: Sequence[str], flag: str) -> dict[str, str]:
    pairs = [option.partition("=") for option in options]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise MappingError(f"{flag} {name}{equals}{value}: write {flag} FIELD=VALUE")
    return {name: value for name, _, value in pairs}


def _names(columns: object) -> list[str]:
    if isinstance(columns, str):
        return [name.strip() for name in columns.split(",")]
    if isinstance(columns, list):
        return [str(name) for name in columns]
    raise MappingError("hash needs the names of columns: FIELD: [COLUMN, COLUMN]")
