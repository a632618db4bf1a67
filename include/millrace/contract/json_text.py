"""The one reading of a message's JSON: as the gate reads it, and losing nothing on the way.

Of equal keys the first counts. A number keeps its digits, a nested value its text, half a surrogate
pair its escape. ``NaN`` and ``Infinity`` are no JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

MOST_DIGITS = 4_300
"""A longer whole number is read as its text: Python takes quadratic time for it, and refuses."""

MOST_BRACKETS = 250
"""What has more may be nested deeper than orjson writes."""


class JsonText:
    """A value that stays as it is written; ``str()`` gives the text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"JsonText({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JsonText) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def read(text: str) -> dict[str, Any]:
    """Return the fields of a JSON object.

    Text, booleans, null and whole numbers of at most 64 bits are Python's; other numbers, and what
    Python could not write again, are ``JsonText``. Raises ``ValueError`` where the text is no JSON
    object, ``RecursionError`` where it is nested too deep.
    """
    is_flat = text.count("{") + text.count("[") < MOST_BRACKETS
    if is_flat and not _HALF_PAIR.search(text):
        try:
            row = _QUICK.decode(text)
        except _KeyTwiceError:
            pass
        else:
            if not isinstance(row, dict):
                raise ValueError("it is no object")
            return row
    return {name: _kept(*field) for name, field in fields(text).items()}


def dump(value: Any, *, is_sorted: bool = False) -> bytes:
    """Return JSON of what ``read`` returns; other values are written as ``str`` gives them."""
    return orjson.dumps(
        value, _write, orjson.OPT_UTC_Z | (orjson.OPT_SORT_KEYS if is_sorted else 0)
    )


def fields(text: str) -> dict[str, tuple[Any, str]]:
    """Return each field of a JSON object, and as it is written. Raises ``ValueError``."""
    found: dict[str, tuple[Any, str]] = {}
    at = _behind(text, 0, "{")
    while not text.startswith("}", at):
        if found:
            at = _behind(text, at, ",")
        if not text.startswith('"', at):
            raise ValueError("the name of a field is no text")
        name, at = _EXACT.raw_decode(text, at)
        start = _behind(text, at, ":")
        item, end = _EXACT.raw_decode(text, start)
        found.setdefault(name, (item, text[start:end]))
        at = _skip(text, end)
    if _skip(text, at + 1) < len(text):
        raise ValueError("something follows the object")
    return found


_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape that may be half a surrogate pair."""


class _KeyTwiceError(ValueError):
    """An object has a key twice, so that its text says more than Python's dictionary would."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _KeyTwiceError
    return found


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def _whole(digits: str) -> int | JsonText:
    if len(digits) > len("-9223372036854775808") or not -(2**63) <= (number := int(digits)) < 2**64:
        return JsonText(digits)
    return number


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


_QUICK = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=JsonText, parse_int=_whole, parse_constant=_no_number
)
_EXACT = json.JSONDecoder(
    object_pairs_hook=_first_wins,
    parse_int=lambda digits: int(digits) if len(digits) <= MOST_DIGITS else digits,
    parse_constant=_no_number,
)


def _kept(value: Any, text: str) -> Any:
    if isinstance(value, str) and _HALF_PAIR.search(text) is None:
        return value
    return value if value is None or isinstance(value, bool) else JsonText(text)


def _write(value: Any) -> Any:
    return orjson.Fragment(value.text) if isinstance(value, JsonText) else str(value)


def _behind(text: str, at: int, mark: str) -> int:
    """Return where a mark, and the space around it, ends."""
    at = _skip(text, at)
    if not text.startswith(mark, at):
        raise ValueError(f"no {mark} where it should be")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    """Return where the space at a place ends."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
