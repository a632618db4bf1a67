"""Our own routes: events of the contract as they are, one, an array or NDJSON; and CloudEvents."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar
from urllib.parse import unquote

import msgspec

from millrace.api.http import ProblemError, Request, Response, parse
from millrace.api.ingestion import bodies, devices
from millrace.api.ingestion.batches import MOST_EVENTS, Batch, Outcome, check_count
from millrace.api.ingestion.families.answers import as_bytes, no_batch
from millrace.api.ingestion.families.family import Account, Family
from millrace.api.ingestion.translation import Translation, is_uuid

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_whole = msgspec.json.Decoder(msgspec.Raw).decode

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
_LINES = frozenset(
    {
        *("application/x-ndjson", "application/ndjson", "application/jsonl", "text/x-ndjson"),
        *("application/x-jsonlines", "application/jsonlines", "application/x-json-lines"),
        *("application/json-lines", "application/stream+json", "text/ndjson"),
    }
)
_CLOUD = frozenset({"specversion", "id", "type", "time", "subject", "data", "userid"})
_PACKED = "data_base64"
"""Where JSON has the data that its sender holds as bytes."""


class Millrace(Family):
    """``POST /v1/events``. What is sent in the contract's words is passed on untouched.

    But a page's events get the ``device`` that they lack: a page knows no more of it than its
    browser's user agent, which comes with the request.
    """

    name: ClassVar[str] = "millrace"
    routes = (("POST", "/v1/events"), ("POST", "/events"))

    def read(self, request: Request, account: Account) -> Batch:
        """Take one event, an array, lines of them, or CloudEvents in any of their three forms."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in {STRUCTURED, BATCHED} or "ce-specversion" in request.headers:
            return _cloud_events(request, account, kind)
        events = _events(request.body.strip(), kind)
        if "origin" in request.headers:
            device = devices.kind_by_agent(request.headers.get("user-agent", ""))
            if device:
                name = account.field_names.get("device", "device")
                events = _with_member(events, name, device)
        return Batch(events)

    def answer(self, request: Request, outcome: Outcome) -> Response:
        """Count what is durable, and name what the gate will reject."""
        return Response.json(
            200,
            {
                "status": "accepted",
                "count": outcome.count,
                "accepted": outcome.accepted,
                "rejected": [one.as_json() for one in outcome.rejections],
            },
        )


def _events(body: bytes, kind: str) -> list[bytes]:
    """Return the events of a body. Raises ``ProblemError``: 400 where it is none, 413."""
    mark = body[:1]
    if kind in _LINES and not (mark in {b"[", b"{"} and _why_not(body) is None):
        return bodies.few(bodies.lines(body))
    if mark == b"[":
        return bodies.elements(body)
    if mark != b"{":
        raise no_batch("one event, an array of events, or one a line")
    wrong = _why_not(body)
    if wrong is None:
        return [body]
    lines = list(itertools.islice(bodies.lines(body), MOST_EVENTS + 1))
    if len(lines) > 1 and (_why_not(lines[0]) is None or all(one[:1] == mark for one in lines)):
        check_count(len(lines))
        return lines
    raise ProblemError(400, "malformed_json", f"The body is no JSON: {wrong}")


def _why_not(text: bytes) -> Exception | None:
    """Return why a text is no JSON; nothing if it is some."""
    try:
        _whole(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return error
    return None


def _with_member(events: list[bytes], name: str, value: str) -> list[bytes]:
    """Put a member in front of the others, in events that have none of its name.

    What is no object stays as it came.
    """
    member = msgspec.json.encode({name: value})[:-1]

    def put(event: bytes) -> bytes:
        try:
            members = _members(event)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return event
        if name in members:
            return event
        return member + (b"," if members else b"") + event.lstrip()[1:]

    return [put(event) for event in events]


def _cloud_events(request: Request, account: Account, kind: str) -> Batch:
    events: list[Any]
    if kind in {STRUCTURED, BATCHED}:
        document = request.document
        events = document if isinstance(document, list) else [document]
    else:
        events = [_binary(request)]
    return Batch.translated(events, partial(_translate, Translation(request, account)))


def _binary(request: Request) -> dict[str, Any]:
    """Return an event whose attributes are headers, and whose data is the body."""
    event: dict[str, Any] = {
        name[3:]: unquote(value)
        for name, value in request.headers.items()
        if name.startswith("ce-")
    }
    content_type = request.headers.get("content-type", "")
    if content_type:
        event["datacontenttype"] = content_type
    if not request.body:
        return event
    if not content_type or "json" in content_type:
        event["data"] = parse(request.body)
    else:
        event["data"] = request.body.decode("utf-8", "replace")
    return event


def _unpacked(raw: dict[str, Any]) -> dict[str, Any]:
    """Return an event with its data as JSON or text, unless its bytes are neither."""
    if "data" in raw or _PACKED not in raw:
        return raw
    packed, kind = raw[_PACKED], raw.get("datacontenttype")
    try:
        data = base64.b64decode(packed, validate=True)
        is_json = not isinstance(kind, str) or "json" in kind.lower()
        unpacked = parse(data) if is_json else data.decode()
    except (TypeError, ValueError, ProblemError):  # binascii.Error and UnicodeError are of those
        return raw
    return {name: value for name, value in raw.items() if name != _PACKED} | {"data": unpacked}


def _translate(translation: Translation, raw: Any) -> bytes | Mapping[str, Any]:
    if not isinstance(raw, dict):
        return as_bytes(raw)
    raw = _unpacked(raw)
    data = raw.get("data")
    members = dict(data) if isinstance(data, dict) else {}
    user = raw.get("userid")
    for name in ("user_id", "userId"):
        if user is None or user == "":
            user = members.pop(name, None)
    if user is None or user == "":
        user = raw.get("subject")
    if data is not None and not isinstance(data, dict):
        members["data"] = data
    for name, value in raw.items():
        if name not in _CLOUD:
            members.setdefault(f"ce_{name}", value)
    if raw.get("subject") not in (None, user):
        members.setdefault("ce_subject", raw["subject"])
    # Its id is one within its source only.
    message_id = raw.get("id")
    if isinstance(message_id, str) and "source" in raw and not is_uuid(message_id):
        message_id = f"{raw['source']}#{message_id}"
    return translation.event(
        raw.get("type"),
        message_id=message_id,
        moment=raw.get("time"),
        user=user,
        properties=members,
        raw=raw,
    )
