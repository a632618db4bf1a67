"""The gate's contract and the seeded rules in plain Python: a second opinion, for tests only."""

from __future__ import annotations

import json
import math
import re
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

DEPTH = 1_023
TIMESTAMP = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?"
    r"(Z|[+-]\d{2}(?::?\d{2})?)",
    re.ASCII,
)
NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.I
)
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}", re.ASCII)
DEVICES = {"mobile", "desktop", "tablet", "tv", "bot"}


sys.setrecursionlimit(20_000)  # Python's parser would refuse what the engine's takes


class Written(float):
    """A fraction that remembers how it was written."""

    def __new__(cls, text: str) -> Written:
        """Read the text."""
        made = super().__new__(cls, text)
        made.text = text
        return made


class UnreadableError(Exception):
    """The message is no JSON object that a strict parser takes."""


def parse(value: bytes) -> dict[str, Any]:
    """Return the first value of each key; numbers stay text where Python would change them."""

    def refuse(text: str) -> None:
        raise UnreadableError(text)

    def number(text: str) -> float | str:
        read = Written(text)
        return text if math.isinf(read) else read

    def first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in pairs:
            found.setdefault(key, item)
        return found

    text = value.removeprefix(b"\xef\xbb\xbf")
    try:
        parsed = json.loads(
            text.decode("utf-8", "strict").strip(" \t\r\n"),
            parse_constant=refuse,
            parse_float=number,
            # Python reads no integer of more than 4,300 digits.
            parse_int=lambda digits: int(digits) if len(digits) < 4_000 else digits,
            object_pairs_hook=first,
        )
        json.dumps(parsed, ensure_ascii=False).encode()  # a lone surrogate is no text
    except (ValueError, RecursionError, UnreadableError) as error:
        raise UnreadableError(str(error)) from error
    if not isinstance(parsed, dict) or depth(parsed) > DEPTH:
        raise UnreadableError("no object, or nested too deeply")
    return parsed


def depth(value: Any) -> int:
    """Return how deeply containers are nested that hold anything."""
    level, layer = 0, [value]
    while layer := [x for x in layer if x and isinstance(x, dict | list)]:
        level += 1
        layer = [y for x in layer for y in (x.values() if isinstance(x, dict) else x)]
    return level


def text_of(value: Any) -> str:
    """Return a field as the gate reads it; only emptiness matters for containers."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value)


def moment(text: str) -> datetime | None:
    """Return an ISO 8601 time with a zone, cut at milliseconds, or nothing."""
    found = TIMESTAMP.fullmatch(text)
    if not found or found[1] < "1000":
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    zone = found[8]
    shift = timedelta(0)
    if zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
        if hours > 14 or minutes > 59:
            return None
        shift = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
    try:
        milliseconds = int((found[7] or "").ljust(3, "0")[:3])
        at = datetime(
            year, month, day, hour, minute, second, milliseconds * 1000, tzinfo=timezone(shift)
        )
        return at.astimezone(UTC)
    except OverflowError:  # past the end of Python's calendar, by the zone alone
        return datetime.max.replace(tzinfo=UTC)
    except ValueError:
        return None


def judge(
    value: bytes, *, kafka_time: datetime, event_types: set[str], max_bytes: int, kept_days: int
) -> list[str]:
    """Return the failures that the contract and the seeded rules find."""
    if not value.strip(b" \t\r\n"):
        return ["empty_message||contract"]
    if len(value) > max_bytes:
        return ["message_too_large||contract"]
    try:
        event = parse(value)
    except UnreadableError:
        return ["malformed_json||contract"]
    text = {key: text_of(item) for key, item in event.items()}

    def get(field: str) -> str:
        return text.get(field, "")

    found = [
        f"missing_field|{field}|contract"
        for field in ("event_id", "event", "timestamp", "user_id")
        if not get(field)
    ]
    at = moment(get("timestamp"))
    if get("event_id") and not UUID.fullmatch(get("event_id")):
        found.append("invalid_type|event_id|contract")
    if get("timestamp") and at is None:
        found.append("invalid_type|timestamp|contract")
    user = get("user_id")
    written = event.get("user_id")
    is_rounded = isinstance(written, Written) and Decimal(written.text) != written
    is_user = re.fullmatch(r"[1-9][0-9]*", user, re.ASCII) and int(user) < 2**64
    if user and (is_rounded or not is_user):
        found.append("invalid_type|user_id|contract")
    amount = get("amount")
    number = float(amount) if NUMBER.fullmatch(amount) else math.nan
    if amount and not math.isfinite(number):
        found.append("invalid_type|amount|amount_in_range")
    if get("country") and not re.fullmatch(r"[A-Z]{2}", get("country"), re.ASCII):
        found.append("invalid_value|country|country_code")
    if len(get("page")) > 2048:
        found.append("invalid_value|page|page_length")
    if number < 0 or number > 1_000_000:
        found.append("out_of_range|amount|amount_in_range")
    if get("event") and get("event") not in event_types:
        found.append("unknown_event_type|event|event_type_registered")
    if at is not None and at < kafka_time - timedelta(days=kept_days):
        found.append("event_too_old|timestamp|event_not_too_old")
    if at is not None and at > kafka_time + timedelta(seconds=600):
        found.append("event_in_future|timestamp|event_not_in_future")
    return found
