"""How a file's columns become the fields of the event contract, as a person says it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as AnyMapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from millrace.contract import yaml_text
from millrace.contract.fields import IMPORT_REQUIRED, IMPORTABLE

HASHABLE = ("event_id", "user_id")
"""Fields that can be made of the values of columns."""

KEYS = ("map", "set", "hash", "keep", "zone")


class MappingError(ValueError):
    """A mapping that can't be used; says what to change."""


@dataclass(frozen=True)
class Mapping:
    """What fills each field of the contract.

    ``columns`` takes a field from a column, ``constants`` gives it a value, ``hashed`` makes it of
    the values of several columns (``HASHABLE``). ``kept`` gives a column another name among the
    properties. ``zone`` is that of times without one. A column of a field's own name fills it
    unasked.
    """

    columns: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    hashed: dict[str, list[str]] = field(default_factory=dict)
    zone: str = "UTC"
    kept: dict[str, str] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        file: Path | None,
        *,
        maps: Sequence[str] = (),
        sets: Sequence[str] = (),
        hashes: Sequence[str] = (),
        keeps: Sequence[str] = (),
        zone: str = "",
    ) -> Mapping:
        """Read a mapping file (YAML or TOML) and lay ``FIELD=…`` options over it.

        Raises ``MappingError`` for an unknown key, field or zone, or an option without ``=``.
        """
        loaded = _load(file) if file else {}
        unknown = sorted(set(loaded) - set(KEYS))
        if unknown:
            raise MappingError(f"{file}: unknown key {unknown[0]!r}; use {', '.join(KEYS)}")
        hashed = {name: _names(columns) for name, columns in _section(loaded, "hash").items()}
        given = _options(maps, "--map"), _options(sets, "--set"), _options(hashes, "--hash")
        told = {name for options in given for name in options}
        made = cls(
            columns=_without(_texts(loaded, "map"), told) | given[0],
            constants=_without(_texts(loaded, "set"), told) | given[1],
            hashed=_without(hashed, told) | {n: _names(c) for n, c in given[2].items()},
            kept=_texts(loaded, "keep") | _options(keeps, "--keep"),
            zone=zone or _text(loaded.get("zone", "UTC"), "zone"),
        )
        made.check()
        return made

    def ways(self) -> Iterator[AnyMapping[str, object]]:
        """Yield the fields that are filled in each way."""
        yield from (self.columns, self.constants, self.hashed)

    def check(self) -> None:
        """Raise ``MappingError`` unless every name is a field of the contract, filled one way."""
        for name in {name for way in self.ways() for name in way}:
            if name not in IMPORTABLE:
                raise MappingError(
                    f"{name!r} is no field of the contract ({', '.join(IMPORTABLE)}); a column "
                    "that is not mapped is kept in properties by itself"
                )
            if sum(name in way for way in self.ways()) > 1:
                raise MappingError(f"{name!r} is filled in two ways; leave one of them out")
        for name in set(self.hashed) - set(HASHABLE):
            raise MappingError(f"--hash makes {' or '.join(HASHABLE)}, not {name!r}; use --map")
        for name in self.kept:
            if name in IMPORTABLE:
                raise MappingError(f"--keep {name}=…: {name!r} is a field; use --map to fill it")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise MappingError(f"zone {self.zone!r} is not in the IANA time zone list") from error

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raise ``MappingError`` when a file with these columns lacks one that is needed."""
        wanted = {*self.columns.values(), *self.kept.values()}
        wanted |= {column for several in self.hashed.values() for column in several}
        for column in sorted(wanted - set(columns)):
            raise MappingError(f"the file has no column {column!r}; it has {', '.join(columns)}")
        for name in IMPORT_REQUIRED:
            if name not in {*self.columns, *self.constants, *self.hashed, *columns}:
                raise MappingError(
                    f"nothing fills {name!r}: name its column with --map {name}=COLUMN, "
                    f"give a value with --set {name}=VALUE"
                    + (f", or make one with --hash {name}=COLUMNS" if name in HASHABLE else "")
                    + f"; the file has {', '.join(columns)}"
                )

    def as_json(self) -> dict[str, Any]:
        """Return the mapping as plain values."""
        return asdict(self)


def _load(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        is_toml = file.suffix.lower() == ".toml"
        loaded = tomllib.loads(text) if is_toml else yaml_text.load_texts(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise MappingError(f"{file} can't be read: {error}") from error
    if not isinstance(loaded, dict):
        raise MappingError(f"{file} must hold some of the keys {', '.join(KEYS)}")
    return loaded


def _section(loaded: dict[str, Any], name: str) -> dict[str, Any]:
    section = loaded.get(name) or {}
    if not isinstance(section, dict):
        raise MappingError(f"{name!r} must hold one line per field, FIELD: VALUE")
    return section


def _texts(loaded: dict[str, Any], name: str) -> dict[str, str]:
    return {key: _text(value, f"{name}: {key}") for key, value in _section(loaded, name).items()}


def _text(value: object, place: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise MappingError(f"{place} must be text, not {value!r}; put it in quotes")
    return value


def _without(section: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Return what an option does not say otherwise."""
    return {name: value for name, value in section.items() if name not in names}


def _options(options: Sequence[str], flag: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not (name and equals and value):
            raise MappingError(f"{flag} {option}: write {flag} FIELD=VALUE")
        if name in found:
            raise MappingError(f"{flag} {option}: {name} is given twice")
        found[name] = value
    return found


def _names(columns: object) -> list[str]:
    if isinstance(columns, str):
        return [name.strip() for name in columns.split(",")]
    if isinstance(columns, list):
        return [_text(name, "hash") for name in columns]
    raise MappingError("hash needs the names of columns: FIELD: [COLUMN, COLUMN]")
