"""An event as it goes over the wire: made once, when the application says so."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Event:
    """An event that waits: its id, its fields as they were, and the line that is sent."""

    event_id: str
    fields: Mapping[str, Any]
    line: bytes
    queued_at: float


def make(fields: Mapping[str, Any], now: float) -> Event:
    """Return an event with an id and a time, encoded; ``now`` is when it is queued.

    Raises ``TypeError`` or ``ValueError`` where the fields can't be written as JSON.
    """
    whole = dict(fields)
    if not whole.get("event_id"):
        whole["event_id"] = str(uuid.uuid4())
    if whole.get("timestamp") is None:
        whole["timestamp"] = datetime.now(timezone.utc)
    text = json.dumps(
        whole, default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":")
    )
    return Event(str(whole["event_id"]), whole, text.encode(), now)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: say datetime.now(timezone.utc)")
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, (date, uuid.UUID, Decimal)):
        return str(value)
    raise TypeError(f"an event holds what JSON can say, and no {type(value).__name__}: {value!r}")
