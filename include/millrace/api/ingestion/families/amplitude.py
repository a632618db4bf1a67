"""Amplitude's routes: ``/2/httpapi`` and ``/batch``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from millrace.api.http import ProblemError, Request, Response
from millrace.api.ingestion import devices
from millrace.api.ingestion.batches import Batch, Outcome
from millrace.api.ingestion.families.answers import accepted, as_bytes, no_batch
from millrace.api.ingestion.families.family import Account, Family
from millrace.api.ingestion.translation import (
    GROUP,
    IDENTIFY,
    PAGE_VIEW,
    TRAIT,
    Context,
    Translation,
    flatten,
)

NAMES = {
    "$identify": IDENTIFY,
    "$groupidentify": GROUP,
    "[Amplitude] Page Viewed": PAGE_VIEW,
}
"""Amplitude's own events that the contract has a name for."""

_DEVICE = frozenset(
    {
        *("os_name", "os_version", "platform", "device_brand", "device_manufacturer", "carrier"),
        *("device_model", "device_type", "language", "library", "app_version", "version_name"),
        *("user_agent", "idfa", "idfv", "adid", "android_id"),
    }
)
_PLACE = frozenset(
    {"country", "region", "city", "dma", "ip", "location_lat", "location_lng", "timezone"}
)
_READ = frozenset(
    {
        *("event_type", "user_id", "device_id", "time", "insert_id", "event_properties"),
        *("user_properties", "group_properties", "client_event_time"),
    }
)


class Amplitude(Family):
    """Batches of ``events``; SDKs look at the body's ``code``, which is a number."""

    name: ClassVar[str] = "amplitude"
    routes = (("POST", "/2/httpapi"), ("POST", "/batch"))

    def key(self, request: Request) -> str | None:
        """Return the body's ``api_key``."""
        document = request.document
        key = document.get("api_key") if isinstance(document, Mapping) else None
        return key if isinstance(key, str) else None

    def read(self, request: Request, account: Account) -> Batch:
        """Translate a batch of events."""
        document = request.document
        events = document.get("events") if isinstance(document, Mapping) else None
        if isinstance(events, Mapping):
            events = [events]
        if not isinstance(events, list):
            raise no_batch("an object with an array `events`")
        sent_at = document.get("client_upload_time")
        translation = Translation(request, account, sent_at, NAMES)
        return Batch.translated(events, partial(_event, translation))

    def answer(self, request: Request, outcome: Outcome) -> Response:
        """Say ``code: 200`` and how many were ingested."""
        more = {
            "payload_size_bytes": len(request.body),
            "server_upload_time": request.received_at,
        }
        return Response.json(200, accepted(outcome) | more)

    def refuse(self, request: Request, problem: ProblemError) -> Response:
        """Say no by the body's number, so that events are sent again only where that helps."""
        changes: dict[str, Any] = {"code": problem.status, "error": problem.detail}
        if problem.status in {401, 403}:
            # By these words the SDKs know that no event will be taken under this key.
            changes["error"] = f"Invalid API key: {problem.detail}"
        elif problem.status == 429:
            changes["throttled_events"] = list(range(_count(request)))
        elif problem.status not in {408, 413} and problem.status < 500:
            # Without it, every event is sent again, as nothing names the bad ones.
            changes["missing_field"] = "events"
        return problem.response(request.request_id, **changes)


def _count(request: Request) -> int:
    try:
        document = request.document
    except ProblemError:
        return 0
    events = document.get("events") if isinstance(document, Mapping) else None
    return len(events) if isinstance(events, list) else 0


def _event(translation: Translation, raw: Any) -> bytes | dict[str, Any]:
    if not isinstance(raw, dict):
        return as_bytes(raw)
    context, members = Context(), _members(raw)
    for name, value in raw.items():
        if name in _DEVICE:
            context.describe("device_info", name + "_", value)
        elif name in _PLACE:
            context.describe("geo_location", name + "_", value)
    page = members.get("[Amplitude] Page Path")
    context.put("page", page if isinstance(page, str) else "")
    context.put("country", devices.country(raw.get("country")))
    context.put("device", _device(raw))
    user, device = raw.get("user_id"), raw.get("device_id")
    if user is None and device is None and raw.get("event_type") == "$groupidentify":
        groups = raw.get("groups")
        user = ",".join(
            f"${kind}_{name}" for kind, name in (groups if isinstance(groups, dict) else {}).items()
        )
    moment = raw.get("time")
    return translation.event(
        raw.get("event_type"),
        message_id=raw.get("insert_id"),
        moment=raw.get("client_event_time") if moment is None else moment,
        user=user,
        anonymous=device,
        properties=members,
        context=context,
        raw=raw,
    )


def _members(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's properties, and what else it says, under names that hide none of them."""
    given = raw.get("event_properties")
    members: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    extra: dict[str, Any] = {}
    if not isinstance(given, dict):
        flatten(extra, "event_properties_", given)
    _traits(extra, "user_properties", raw.get("user_properties"))
    _traits(extra, "group_properties", raw.get("group_properties"))
    flatten(extra, "", {name: raw[name] for name in raw.keys() - _READ - _DEVICE - _PLACE})
    for name, value in extra.items():
        if name not in members:
            members[name] = value
        elif members[name] != value:
            members["message_" + name] = value
    return members


def _traits(into: dict[str, Any], name: str, value: Any) -> None:
    """Add what an event says of its user or group: what is set under its names, the rest whole."""
    if not isinstance(value, Mapping):
        flatten(into, name + "_", value)
        return
    rest = dict(value)
    flatten(into, TRAIT, rest.pop("$set", None))
    operations = {key: rest.pop(key) for key in tuple(rest) if key.startswith("$")}
    flatten(into, TRAIT, rest)
    if operations:
        into[name] = operations


def _device(raw: Mapping[str, Any]) -> str:
    for name in ("device_type", "platform", "os_name"):
        if kind := devices.kind(raw.get(name)):
            return kind
    agent = raw.get("user_agent")
    return devices.kind_by_agent(agent) if isinstance(agent, str) else ""
