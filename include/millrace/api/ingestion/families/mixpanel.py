"""Mixpanel's routes: ``/track``, ``/import``, ``/engage``, ``/groups``; JSON, forms, lines."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from millrace.api.http import ProblemError, Request, Response
from millrace.api.ingestion import bodies, devices
from millrace.api.ingestion.batches import Batch, Outcome
from millrace.api.ingestion.families.answers import accepted, as_bytes, no_batch, pixel
from millrace.api.ingestion.families.family import Account, Family
from millrace.api.ingestion.translation import (
    ALIAS,
    GROUP,
    IDENTIFY,
    PAGE_VIEW,
    TRAIT,
    Context,
    Translation,
    flatten,
)

NAMES = {"$mp_web_page_view": PAGE_VIEW, "$identify": IDENTIFY, "$create_alias": ALIAS}
"""Mixpanel's own events that the contract has a name for."""

_DEVICE = {
    **{
        "$" + name: name
        for name in (
            *("os", "os_version", "browser", "browser_version", "device", "brand", "model"),
            *("manufacturer", "lib_version", "app_version", "app_version_string", "carrier"),
            *("screen_height", "screen_width", "screen_dpi", "wifi", "radio", "user_agent"),
        )
    },
    "mp_lib": "lib",
}
_PLACE = {"$city": "city", "$region": "region", "mp_country_code": "country_code", "ip": "ip"}
_READ = frozenset(
    {"token", "time", "distinct_id", "$insert_id", "$device_id", "$user_id", *_DEVICE, *_PLACE}
)
_SECRET = frozenset({"token", "$token"})


class Mixpanel(Family):
    """Events and profiles; SDKs look at the body's ``status``, which is 1."""

    name: ClassVar[str] = "mixpanel"
    routes = tuple(
        (method, path + slash)
        for method in ("POST", "GET")
        for path in ("/track", "/import", "/engage", "/groups")
        for slash in ("", "/")
    )

    def key(self, request: Request) -> str | None:
        """Return the token of the first event or profile."""
        document = _documents(request)
        first = document[0] if document else None
        if not isinstance(first, Mapping):
            return None
        members = first.get("properties")
        for holder, name in ((members, "token"), (first, "$token"), (first, "token")):
            if isinstance(holder, Mapping) and isinstance(holder.get(name), str):
                return str(holder[name])
        return None

    def read(self, request: Request, account: Account) -> Batch:
        """Translate events, or what is said of people and groups."""
        route = request.path.strip("/")
        translation = Translation(request, account, None, NAMES)
        translate = _profile if route in {"engage", "groups"} else _event
        return Batch.translated(_documents(request), partial(translate, translation))

    def answer(self, request: Request, outcome: Outcome) -> Response:
        """Say ``status: 1``; ``1`` alone to who asks for no more, an image to who asks for one."""
        asked = request.query
        if bodies.is_form(request.body):
            asked = asked | bodies.form_data(request.body)
        if asked.get("img") == "1":
            return pixel()
        if asked.get("verbose") == "0":
            return Response(200, b"1", {"content-type": "text/plain"})
        more = {"error": None, "num_records_imported": outcome.count}
        return Response.json(200, accepted(outcome) | more)

    def refuse(self, request: Request, problem: ProblemError) -> Response:
        """Say no by ``status: 0`` and ``error``."""
        return problem.response(request.request_id, status=0, error=problem.detail)


def _documents(request: Request) -> list[Any]:
    """Return the events of a body: one, an array, a form's ``data``, or one a line."""
    try:
        document = bodies.document(request)
    except ProblemError:
        documents = bodies.documents(request.body)
        if len(documents) < 2:
            raise
        return documents
    if isinstance(document, list):
        return document
    if isinstance(document, Mapping) and document:
        return [document]
    raise no_batch("an event, or an array of events")


def _event(translation: Translation, raw: Any) -> bytes | dict[str, Any]:
    if not isinstance(raw, dict):
        return as_bytes(raw)
    given = raw.get("properties")
    sent: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    members = {name: value for name, value in sent.items() if name not in _READ}
    if given is not None and not isinstance(given, Mapping):
        members["properties"] = given
    for name, value in raw.items():
        if name not in {"event", "properties", *_SECRET}:
            members.setdefault(name, value)
    context = Context()
    for names, field in ((_DEVICE, "device_info"), (_PLACE, "geo_location")):
        context.put(field, {names[name]: sent[name] for name in names if name in sent})
    page = sent.get("current_url_path")
    address = sent.get("$current_url")
    if not isinstance(page, str) and isinstance(address, str):
        page = devices.path(address)
    context.put("page", page if isinstance(page, str) else "")
    context.put("country", devices.country(sent.get("mp_country_code")))
    context.put("device", devices.kind(sent.get("$device")) or devices.kind(sent.get("$os")))
    user, device = sent.get("$user_id"), sent.get("$device_id")
    who = sent.get("distinct_id")
    if user is None and device is None:
        user = who
    elif who not in (None, user, device, f"$device:{device}"):
        members.setdefault("distinct_id", who)
    return translation.event(
        raw.get("event"),
        message_id=sent.get("$insert_id"),
        moment=sent.get("time"),
        user=user,
        anonymous=device,
        properties=members,
        context=context,
        raw=raw,
    )


def _profile(translation: Translation, raw: Any) -> bytes | dict[str, Any]:
    """Translate what is said of a person (``/engage``) or a group (``/groups``)."""
    if not isinstance(raw, dict):
        return as_bytes(raw)
    members: dict[str, Any] = {}
    flatten(members, TRAIT, raw.get("$set"))
    for name, value in raw.items():
        if name not in {"$distinct_id", "$set", "$time", *_SECRET}:
            members.setdefault(name, value)
    user = raw.get("$distinct_id")
    is_group = "$group_key" in raw
    if is_group and user is None:
        user = f"${raw['$group_key']}_{raw.get('$group_id')}"
    return translation.event(
        GROUP if is_group else IDENTIFY,
        message_id=None,
        moment=raw.get("$time"),
        user=user,
        properties=members,
        raw=raw,
    )
