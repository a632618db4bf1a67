"""Snowplow's tracker protocol: ``tp2`` posts, and the pixel ``/i``. Every value is a text."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from millrace.api.http import ProblemError, Request, Response, parse
from millrace.api.ingestion import bodies, devices
from millrace.api.ingestion.batches import Batch, Outcome
from millrace.api.ingestion.families.answers import as_bytes, no_batch, pixel
from millrace.api.ingestion.families.family import Account, Family
from millrace.api.ingestion.translation import PAGE_VIEW, Context, Translation

NAMES = {
    "pv": PAGE_VIEW,
    "pp": "page_ping",
    "tr": "transaction",
    "ti": "transaction_item",
    "se": "structured_event",
    "ue": "self_describing_event",
}
"""What kinds of events are called that have no name of their own."""

PARAMETERS = {
    "aid": "app_id",
    "co": "contexts",
    "cs": "character_set",
    "ds": "document_size",
    "fp": "fingerprint",
    "nuid": "network_user_id",
    "p": "platform",
    "page": "page_title",
    "pp_mix": "scroll_x_min",
    "pp_max": "scroll_x_max",
    "pp_miy": "scroll_y_min",
    "pp_may": "scroll_y_max",
    "refr": "referrer",
    "se_ca": "category",
    "se_ac": "action",
    "se_la": "label",
    "se_pr": "property",
    "se_va": "value",
    "sid": "session_id",
    "tnuid": "network_user_id",
    "tna": "tracker_namespace",
    "tr_af": "affiliation",
    "tr_id": "order_id",
    "tr_tt": "total",
    "tr_tx": "tax",
    "tr_sh": "shipping",
    "tr_cu": "currency",
    "ti_id": "order_id",
    "ti_sk": "sku",
    "ti_nm": "name",
    "ti_ca": "category",
    "ti_pr": "price",
    "ti_qu": "quantity",
    "ti_cu": "currency",
    "vid": "visit_index",
}
"""What the protocol's short names are called in ``properties``."""

_DEVICE = {
    "tv": "tracker_version",
    "ua": "user_agent",
    "lang": "language",
    "res": "screen_resolution",
    "vp": "viewport",
    "cd": "color_depth",
    "cookie": "cookies",
}
_PLACE = {"tz": "timezone", "ip": "ip"}
_PLATFORMS = {"mob": "mobile", "pc": "desktop", "tv": "tv"}
_READ = frozenset({"e", "eid", "dtm", "ttm", "stm", "uid", "duid", "url", "ue_pr", "ue_px", "cx"})


class Snowplow(Family):
    """Trackers send again for ever what is answered with 413, and drop what gets 422."""

    name: ClassVar[str] = "snowplow"
    routes = (
        ("POST", "/com.snowplowanalytics.snowplow/tp2"),
        ("GET", "/i"),
        ("GET", "/ice.png"),
        ("GET", "/com.snowplowanalytics.snowplow/i"),
    )

    def key(self, request: Request) -> str | None:
        """Return the app id (``aid``): the protocol has no place for a key."""
        events = _events(request)
        first = events[0] if events else None
        key = first.get("aid") if isinstance(first, Mapping) else None
        return key if isinstance(key, str) else None

    def read(self, request: Request, account: Account) -> Batch:
        """Translate the payloads of a post, or of a pixel's query."""
        translation = Translation(request, account)
        return Batch.translated(_events(request), partial(_event, translation))

    def answer(self, request: Request, outcome: Outcome) -> Response:
        """Say 200; to a pixel, by the image."""
        return pixel() if request.method == "GET" else super().answer(request, outcome)

    def refuse(self, request: Request, problem: ProblemError) -> Response:
        """Say no; 422 for what no repetition makes better."""
        changes: dict[str, Any] = {}
        answer = problem.response(request.request_id)
        if 400 <= problem.status < 500 and problem.status not in {400, 401, 403, 408, 410, 429}:
            changes["status"] = answer.status = 422
            answer.body = problem.response(request.request_id, **changes).body
        return answer


def _events(request: Request) -> list[Any]:
    if request.method == "GET":
        return [bodies.pixel(request)]
    document = request.document
    events = document.get("data") if isinstance(document, Mapping) else None
    if not isinstance(events, list):
        raise no_batch("an object with `schema` and an array `data`")
    return events


def _event(translation: Translation, raw: Any) -> bytes | dict[str, Any]:
    if not isinstance(raw, dict):
        return as_bytes(raw)
    get = raw.get
    kind = get("e")
    name: Any = NAMES.get(kind, kind) if isinstance(kind, str) else kind
    members: dict[str, Any] = {}
    context = Context()
    if kind == "se" and get("se_ac"):
        name = get("se_ac")
    elif kind == "ue":
        name = _self_describing(raw, name, members)
    for entry in _entities(raw):
        _entity(context.rest, entry)
    for short, value in raw.items():
        if short in _DEVICE:
            context.describe("device_info", _DEVICE[short] + "_", value)
        elif short in _PLACE:
            context.describe("geo_location", _PLACE[short] + "_", value)
        elif short not in _READ and not (short == "co" and context.rest):
            members.setdefault(PARAMETERS.get(short) or short, value)
    if isinstance(get("url"), str):
        members.setdefault("url", raw["url"])
        context.put("page", devices.path(raw["url"]))
    platform = get("p")
    agent = get("ua")
    context.put(
        "device",
        (_PLATFORMS.get(platform, "") if isinstance(platform, str) else "")
        or (devices.kind_by_agent(agent) if isinstance(agent, str) else ""),
    )
    translation.clock(get("stm"))
    return translation.event(
        name,
        message_id=get("eid"),
        moment=get("ttm") or get("dtm"),
        user=get("uid"),
        anonymous=get("duid") or get("tnuid") or get("nuid"),
        properties=members,
        context=context,
        raw=raw,
    )


def _self_describing(raw: Mapping[str, Any], name: Any, members: dict[str, Any]) -> Any:
    """Add a self-describing event's data; return its name, which its schema has."""
    envelope = _json(raw.get("ue_pr"), raw.get("ue_px"))
    inner = envelope.get("data") if isinstance(envelope, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("schema"), str):
        members["self_describing_event"] = raw.get("ue_pr") or raw.get("ue_px")
        return name
    members["schema"] = inner["schema"]
    data = inner.get("data")
    if isinstance(data, Mapping):
        members.update(data)
    else:
        members["data"] = data
    return _schema_name(inner["schema"])


def _entities(raw: Mapping[str, Any]) -> list[Any]:
    envelope = _json(raw.get("co"), raw.get("cx"))
    entities = envelope.get("data") if isinstance(envelope, Mapping) else None
    if isinstance(entities, list):
        return entities
    return [{"schema": "contexts", "data": raw["cx"]}] if raw.get("cx") else []


def _entity(into: dict[str, Any], entry: Any) -> None:
    """Add an entity of the context under its schema's name; several of one name as a list."""
    if not isinstance(entry, Mapping):
        entry = {"data": entry}
    schema = entry.get("schema")
    name = "context_" + (_schema_name(schema) if isinstance(schema, str) else "unknown")
    if name in into:
        before = into[name]
        into[name] = [*(before if isinstance(before, list) else [before]), entry.get("data")]
    else:
        into[name] = entry.get("data")


def _schema_name(schema: str) -> str:
    """Return the name in ``iglu:vendor/name/format/version``."""
    parts = schema.removeprefix("iglu:").split("/")
    return parts[1] if len(parts) > 1 else schema


def _json(plain: Any, packed: Any) -> Any:
    """Return a document that is a text, or is one in base64 for URLs; nothing if it is neither."""
    try:
        if isinstance(plain, str) and plain:
            return parse(plain)
        if isinstance(packed, str) and packed:
            return parse(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    except (ProblemError, binascii.Error, ValueError):
        return None
    return None
