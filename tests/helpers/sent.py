"""The events that a simulation sent, one by one, drawn again from what its manifest says."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from millrace.lab.simulate import send
from millrace.lab.simulate.manifest import Manifest
from millrace.lab.simulate.traffic import Traffic
from tests.helpers.plain_models import Event


def accepted(manifest: Manifest) -> list[Event]:
    """Return the events of a simulation at a rate that the warehouse must hold.

    A seed fixes the traffic byte by byte, so nothing that was sent or loaded is read for it.
    """
    options: dict[str, Any] = manifest.options
    plan = send.Plan(
        manifest.seed, rates=options["faults"], rate=options["rate"], duration=options["duration"]
    )
    # half a millisecond keeps the last digit from being lost when a float is made of it
    began = datetime.fromisoformat(manifest.started_at) + timedelta(microseconds=500)
    traffic = Traffic(
        manifest.seed,
        manifest.started_at,
        plan.rates,
        message_max_bytes=options["message_max_bytes"],
        retention_days=options["events_retention_days"],
    )
    chunks, drawn = send.schedule(plan, traffic, began), 0
    sound: list[dict[str, Any]] = []
    while drawn < manifest.sent:
        chunk = next(chunks)
        drawn += len(chunk.values)
        sound += map(orjson.loads, chunk.accepted())
    events = [
        Event(
            event_id=UUID(one["event_id"]),
            event_time=datetime.fromisoformat(one["timestamp"]),
            event_type=one["event"],
            user_id=one["user_id"],
            page=one["page"],
            country=one["country"],
            device=one["device"],
        )
        for one in sound
    ]
    counted = Counter(
        (int(e.event_time.timestamp()) // 60, e.country, e.device, e.event_type) for e in events
    )
    expected = {(row[0], row[1], row[2], row[3]): row[4] for row in manifest.events}
    if counted != expected:
        raise AssertionError("the traffic drawn again is not the one that the manifest counts")
    return events


def noted(manifest: Manifest) -> list[Event]:
    """Return the events of a sender that noted them one by one."""
    return [
        Event(
            event_id=UUID(event_id),
            event_time=datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=time),
            event_type=event_type,
            user_id=user_id,
            page=page,
            country=country,
            device=device,
        )
        for event_id, time, event_type, user_id, page, country, device in manifest.rows
    ]
