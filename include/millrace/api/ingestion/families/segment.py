"""Segment's routes, which RudderStack's and Jitsu's SDKs share: single events, batches, pixels."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, ClassVar

import msgspec

from millrace.api.http import MOST_VALUES, Request, Response
from millrace.api.ingestion import bodies, columns, devices
from millrace.api.ingestion.batches import Batch, Outcome, check_count
from millrace.api.ingestion.columns import FEW
from millrace.api.ingestion.families.answers import CACHED, as_bytes, no_batch, pixel
from millrace.api.ingestion.families.family import Account, Family
from millrace.api.ingestion.translation import (
    ALIAS,
    GROUP,
    IDENTIFY,
    PAGE_VIEW,
    SCREEN_VIEW,
    TRAIT,
    Context,
    Translation,
    flatten,
)

SHORT = {"t": "track", "p": "page", "i": "identify", "g": "group", "a": "alias", "s": "screen"}
TYPES = ("track", "page", "screen", "identify", "group", "alias")

_READ = frozenset(
    {
        *("type", "event", "name", "category", "properties", "traits", "context"),
        *("userId", "anonymousId", "groupId", "previousId", "messageId", "writeKey"),
        *("timestamp", "originalTimestamp", "sentAt"),
    }
)
_PLAIN = (_READ | {"integrations"}) - {"name", "category", "traits", "groupId", "previousId"}
"""What most calls of ``track`` have."""
_DEVICE = {
    **{
        name: name + "_"
        for name in (
            *("device", "os", "app", "screen", "network", "library", "browser"),
            *("userAgentData", "locale"),
        )
    },
    "userAgent": "user_agent_",
}
_PLACE = {"location": "", "timezone": "timezone_", "ip": "ip_"}
_PREFIXES = {"page": "page_", "traits": TRAIT, "campaign": "campaign_", "referrer": "referrer_"}
"""What becomes of the members of ``context``: where their members go, and what they begin with."""

_BATCHES = frozenset({"batch", "import", "b"})
_NAMES = {
    "identify": IDENTIFY,
    "group": GROUP,
    "alias": ALIAS,
    "page": PAGE_VIEW,
    "screen": SCREEN_VIEW,
}


class Segment(Family):
    """``/v1/batch``, ``/v1/{type}``, and analytics.js's short names, with and without ``/v1``."""

    name: ClassVar[str] = "segment"
    routes = (
        ("POST", "/v1/batch"),
        ("POST", "/v1/import"),
        ("POST", "/v1/b"),
        ("POST", "/b"),
        ("POST", "/v1/m"),
        ("POST", "/m"),
        *(("POST", f"/v1/{name}") for name in (*TYPES, *SHORT)),
        *(("POST", f"/{name}") for name in SHORT),
        ("GET", "/v1/projects/{key}/settings"),
        ("POST", "/beacon/v1/batch"),
        ("POST", "/beacon/v1/*"),
        ("GET", "/pixel/v1/*"),
        ("GET", "/sourceConfig"),
        ("GET", "/sourceConfig/"),
    )

    def key(self, request: Request) -> str | None:
        """Return the body's ``writeKey``."""
        document = bodies.document(request) if request.body else None
        key = document.get("writeKey") if isinstance(document, Mapping) else None
        return key if isinstance(key, str) else None

    def discovery(self, request: Request) -> Response | None:
        """Answer with settings that send everything here: no other destination, nothing sampled."""
        if request.path.startswith("/sourceConfig"):
            return Response.json(200, _source_config(request.query.get("writeKey", "")))
        if request.path.startswith("/v1/projects/"):
            return Response.json(200, _settings(request.path.split("/")[3]), **CACHED)
        if request.method == "POST" and request.path in {"/v1/m", "/m"}:
            # The SDK's numbers on itself: no events of anybody.
            return Response.json(200, {"success": True})
        return None

    def read(self, request: Request, account: Account) -> Batch:
        """Translate a batch or a single event; a pixel's query is one."""
        kind = request.path.rstrip("/").rsplit("/", 1)[-1]
        if kind in _BATCHES and (made := _together(request, account)) is not None:
            return Batch(made, names_are_foreign=True)
        document = bodies.document(request) if request.body else bodies.pixel(request)
        if not isinstance(document, Mapping):
            raise no_batch("an object with `batch`, or an event")
        given = document.get("batch")
        if given is None and kind in _BATCHES:
            raise no_batch("an object with `batch`")
        if given is None:
            events = [document]
        elif isinstance(given, list):
            events = given
        else:
            raise no_batch("an array in `batch`")
        translation = Translation(request, account, document.get("sentAt"))
        shared = document.get("context") if given is not None else None
        reader = Reader(translation, SHORT.get(kind, kind), shared)
        return Batch.translated(events, reader.event)

    def answer(self, request: Request, outcome: Outcome) -> Response:
        """Say 200 with every member that these SDKs look for; a pixel gets one."""
        return pixel() if request.method == "GET" else super().answer(request, outcome)


class _Call(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A plain call of ``track``; what it was made in stays as it came, since most are alike."""

    type: Any = None
    event: Any = None
    properties: Any = None
    userId: Any = None  # noqa: N815
    anonymousId: Any = None  # noqa: N815
    messageId: Any = None  # noqa: N815
    timestamp: Any = None
    originalTimestamp: Any = None  # noqa: N815
    sentAt: Any = None  # noqa: N815
    integrations: Any = None
    writeKey: Any = None  # noqa: N815
    context: msgspec.Raw = msgspec.Raw(b"null")


class _Calls(msgspec.Struct):
    batch: list[_Call]
    sentAt: Any = None  # noqa: N815
    context: Any = None


_calls = msgspec.json.Decoder(_Calls).decode
_columns = attrgetter(
    *("type", "event", "properties", "userId", "anonymousId", "messageId", "timestamp"),
    *("originalTimestamp", "sentAt", "integrations", "context"),
)


def _together(request: Request, account: Account) -> list[dict[str, Any]] | None:
    """Translate a batch of many as ``Reader`` does; nothing unless all are plain calls.

    Raises ``ProblemError`` (413).
    """
    if len(request.body) > MOST_VALUES:  # there may be too many values
        return None
    try:
        read = _calls(request.body)
        count = len(read.batch)
        if count <= FEW or read.context is not None:
            return None
        check_count(count)
        types, names, properties, users, anonymous, ids, times, made_at, sent_at, others, around = (
            zip(*map(_columns, read.batch), strict=True)
        )
        around = tuple(map(bytes, around))
        contexts = {as_sent: _context(msgspec.json.decode(as_sent), {}) for as_sent in set(around)}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if types.count("track") != count or set(map(type, properties)) != {dict} or any(others):
        return None
    if not columns.are_alike(sent_at) or any(one.rest for one in contexts.values()):
        return None
    translation = Translation(request, account, read.sentAt)
    translation.clock(sent_at[0])
    return translation.together(
        names=names,
        message_ids=ids,
        times=made_at if times.count(None) == count else times,
        users=users,
        anonymous=anonymous,
        properties=properties,
        contexts=[contexts[as_sent] for as_sent in around],
    )


def _settings(write_key: str) -> dict[str, Any]:
    """Return what analytics.js loads before it sends: Segment's own destination alone."""
    return {
        "integrations": {
            "Segment.io": {
                "apiKey": write_key,
                "unbundledIntegrations": [],
                "addBundledMetadata": True,
            }
        },
        "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}},
        "edgeFunction": {},
        "analyticsNextEnabled": True,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }


def _source_config(write_key: str) -> dict[str, Any]:
    """Return what RudderStack's SDKs load before they send: a source without destinations."""
    return {
        "source": {
            "id": "millrace",
            "name": "millrace",
            "writeKey": write_key,
            "enabled": True,
            "config": {
                "statsCollection": {
                    "errors": {"enabled": False},
                    "metrics": {"enabled": False},
                }
            },
            "connections": [],
            "destinations": [],
            "dataplanes": {},
            "workspaceId": "millrace",
            "updatedAt": "2026-01-01T00:00:00.000Z",
        },
        "updatedAt": "2026-01-01T00:00:00.000Z",
    }


class Reader:
    """Translates events of Segment's shape, which share most of their context."""

    def __init__(self, translation: Translation, kind: str, shared: Any = None) -> None:
        self._translation = translation
        # A route that is no type's, as that of batches, names no event that does not say its type.
        self._kind = kind if kind in TYPES else None
        self._shared = shared if isinstance(shared, Mapping) else {}
        self._last = b""
        self._read = Context()

    def event(self, raw: Any) -> bytes | dict[str, Any]:
        """Translate one; what is no object is passed on."""
        if not isinstance(raw, dict):
            return as_bytes(raw)
        get = raw.get
        kind = get("type") or self._kind
        if kind == "track":
            name = get("event")
        elif isinstance(kind, str):
            name = _NAMES.get(kind, kind)
        else:
            name = kind
        properties = get("properties")
        if kind != "track" or type(properties) is not dict or not raw.keys() <= _PLAIN:
            properties = self._more(kind, raw, properties)
        elif raw.get("integrations"):
            if "integrations" in properties:
                properties = self._more(kind, raw, properties)
            else:
                properties = {**properties, "integrations": raw["integrations"]}
        self._translation.clock(get("sentAt"))
        moment = get("timestamp")
        event = self._translation.event(
            name,
            message_id=get("messageId"),
            moment=get("originalTimestamp") if moment is None else moment,
            user=get("userId"),
            anonymous=get("anonymousId"),
            properties=properties,
            context=self._context(get("context")),
            raw=raw,
        )
        if kind == "page" and "page" not in event:
            _page(event)
        return event

    def _more(self, kind: Any, raw: dict[str, Any], properties: Any) -> dict[str, Any]:
        """Return the properties with what else an event says: traits, names, unknown members."""
        found: dict[str, Any] = {}
        if isinstance(properties, Mapping):
            found.update(properties)
        elif properties is not None:
            found["properties"] = properties
        extra: dict[str, Any] = {}
        flatten(extra, TRAIT, raw.get("traits"))
        if kind in ("page", "screen"):
            extra[f"{kind}_name"] = raw.get("name")
            extra[f"{kind}_category"] = raw.get("category")
        else:
            extra["name"] = raw.get("name")
            extra["category"] = raw.get("category")
            if kind != "track":
                extra["event_name"] = raw.get("event")
        extra["group_id"] = raw.get("groupId")
        extra["previous_id"] = raw.get("previousId")
        for name in raw.keys() - _READ:
            extra[name] = raw[name]
        for name, value in extra.items():
            if value is None or value in ({}, ""):
                continue
            if name not in found:
                found[name] = value
            elif found[name] != value:
                found["message_" + name] = value
        return found

    def _context(self, context: Any) -> Context:
        as_sent = msgspec.json.encode(context)  # in Python, 1 would equal True
        if as_sent != self._last:
            self._last, self._read = as_sent, _context(context, self._shared)
        return self._read


def _page(event: dict[str, Any]) -> None:
    """Take the page from a page call's own properties, where its context has none."""
    where, address = event.get("path"), event.get("url")
    if isinstance(where, str):
        event["page"] = where
    elif isinstance(address, str):
        event["page"] = devices.path(address)


def _context(context: Any, shared: Mapping[str, Any]) -> Context:
    found = Context()
    if not isinstance(context, Mapping):
        flatten(found.rest, "context_", context)
        context = {}
    if shared:
        context = {**shared, **context}
    for name, value in context.items():
        if name in _DEVICE:
            found.describe("device_info", _DEVICE[name], value)
        elif name in _PLACE:
            found.describe("geo_location", _PLACE[name], value)
        else:
            flatten(found.rest, _PREFIXES.get(name, f"context_{name}_"), value)
    _fields(found, context)
    return found


def _fields(found: Context, context: Mapping[str, Any]) -> None:
    page, device, place = (
        one if isinstance(one, Mapping) else {}
        for one in (context.get("page"), context.get("device"), context.get("location"))
    )
    where = page.get("path")
    if not isinstance(where, str) and isinstance(page.get("url"), str):
        where = devices.path(page["url"])
    found.put("page", where if isinstance(where, str) else "")
    agent = context.get("userAgent")
    found.put(
        "device",
        devices.kind(device.get("type"))
        or (devices.kind_by_agent(agent) if isinstance(agent, str) else ""),
    )
    found.put(
        "country",
        devices.country(place.get("countryCode")) or devices.country(place.get("country")),
    )
