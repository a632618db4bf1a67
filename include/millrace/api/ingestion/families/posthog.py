"""PostHog's routes: capture (V0), analytics events with a result each (V1), flags, config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from millrace.api.http import ProblemError, Request, Response
from millrace.api.ingestion import bodies, columns, devices, moments
from millrace.api.ingestion.batches import Batch, Outcome
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

NAMES = {
    "$pageview": PAGE_VIEW,
    "$screen": SCREEN_VIEW,
    "$identify": IDENTIFY,
    "$groupidentify": GROUP,
    "$create_alias": ALIAS,
}
"""PostHog's own events that the contract has a name for."""

V1 = "/i/v1/analytics/events"
_BROWSER = ("/e", "/capture", "/i/v0/e", "/track")
"""Where posthog-js sends to, which drops what is answered with 429."""

_READ = frozenset({"event", "distinct_id", "uuid", "timestamp", "properties", "offset"})
_TRAITS = {"$set": TRAIT, "$group_set": TRAIT, "$set_once": "first_" + TRAIT}
_KEYS = ("api_key", "token", "$token")
_SECRET = frozenset(_KEYS)
_DEVICE = {
    "$" + name: name
    for name in (
        *("os", "os_version", "browser", "browser_version", "browser_language", "lib"),
        *("lib_version", "device", "device_model", "device_manufacturer", "device_name"),
        *("device_type", "screen_height", "screen_width", "viewport_height", "viewport_width"),
        *("app_version", "app_name", "app_build", "app_namespace", "locale", "network_wifi"),
        *("network_carrier", "network_cellular", "python_version", "python_runtime", "os_name"),
    )
} | {"$raw_user_agent": "user_agent", "$user_agent": "user_agent"}
_PLACE = {
    "$geoip_" + name: name
    for name in (
        *("city_name", "country_name", "country_code", "continent_name", "continent_code"),
        *("postal_code", "latitude", "longitude", "time_zone", "subdivision_1_name"),
    )
} | {"$ip": "ip", "$timezone": "timezone"}
_CONTEXT = frozenset(
    {*_DEVICE, *_PLACE, "$current_url", "$pathname", "$screen_name", *_TRAITS, *_SECRET}
)


class PostHog(Family):
    """``/batch/``, ``/e/`` and the like, ``/i/v1/analytics/events``, and what SDKs ask first."""

    name: ClassVar[str] = "posthog"
    routes = (
        *(
            ("POST", path + slash)
            for path in ("/batch", "/e", "/capture", "/i/v0/e", V1, "/flags", "/decide")
            for slash in ("", "/")
        ),
        ("GET", "/e/"),
        ("GET", "/flags/"),
        ("GET", "/array/{key}/config"),
        ("GET", "/array/{key}/config.js"),
        ("GET", "/api/surveys/"),
    )

    def key(self, request: Request) -> str | None:
        """Return the body's ``api_key`` or ``token``, or the first event's."""
        document = bodies.document(request)
        if isinstance(document, list):
            document = document[0] if document else None
        if not isinstance(document, Mapping):
            return None
        batch = document.get("batch")
        first = batch[0] if isinstance(batch, list) and batch else document
        members = first.get("properties") if isinstance(first, Mapping) else None
        for holder in (document, members):
            if isinstance(holder, Mapping):
                for name in _KEYS:
                    if isinstance(holder.get(name), str):
                        return str(holder[name])
        return None

    def discovery(self, request: Request) -> Response | None:
        """Answer with no flags, no recordings, no surveys: events are all that is taken."""
        path = request.path.rstrip("/")
        if path in {"/flags", "/decide"}:
            return Response.json(200, FLAGS)
        if path.startswith("/array/"):
            key = path.split("/")[2]
            config = {**CONFIG, "token": key}
            if not path.endswith(".js"):
                return Response.json(200, config, **CACHED)
            return _script(key, config)
        if path == "/api/surveys":
            return Response.json(200, {"surveys": []})
        return None

    def read(self, request: Request, account: Account) -> Batch:
        """Translate a batch, an array of events or a single one."""
        document = bodies.document(request)
        shared: Any = document if isinstance(document, Mapping) else {}
        events = _events(document)
        sent_at = (
            request.headers.get("posthog-request-timestamp")
            or shared.get("sent_at")
            or request.query.get("_")
        )
        if shared.get("historical_migration") is True:
            sent_at = None
        reader = _Reader(Translation(request, account, sent_at, NAMES))
        return Batch.translated(events, reader.event, reader.together)

    def answer(self, request: Request, outcome: Outcome) -> Response:
        """Say 200; V1 hears of each event what became of it."""
        if request.path.rstrip("/") == V1:
            return Response.json(
                200, {"results": _results(_events(bodies.document(request)), outcome)}
            )
        return pixel() if request.method == "GET" else super().answer(request, outcome)

    def refuse(self, request: Request, problem: ProblemError) -> Response:
        """Say no; 503 for 429 where posthog-js would drop what it sent."""
        if problem.status == 429 and request.path.rstrip("/") in _BROWSER:
            slower = ProblemError(
                503,
                problem.code,
                problem.detail,
                retry_after=problem.retry_after,
                extra=problem.extra,
            )
            return slower.response(request.request_id)
        return super().refuse(request, problem)


FLAGS: dict[str, Any] = {
    "flags": {},
    "featureFlags": {},
    "featureFlagPayloads": {},
    "errorsWhileComputingFlags": False,
    "config": {"enable_collect_everything": True},
    "supportedCompression": ["gzip", "gzip-js"],
    "sessionRecording": False,
    "toolbarParams": {},
    "isAuthenticated": False,
    "siteApps": [],
}
CONFIG: dict[str, Any] = {
    "supportedCompression": ["gzip", "gzip-js"],
    "hasFeatureFlags": False,
    "captureDeadClicks": False,
    "capturePerformance": False,
    "autocapture_opt_out": False,
    "autocaptureExceptions": False,
    "analytics": {"endpoint": "/e/"},
    "elementsChainAsString": True,
    "errorTracking": {"autocaptureExceptions": False, "suppressionRules": []},
    "sessionRecording": False,
    "heatmaps": False,
    "surveys": False,
    "defaultIdentifiedOnly": True,
    "siteApps": [],
}


def _script(key: str, config: Mapping[str, Any]) -> Response:
    """Return the configuration as the script that posthog-js loads."""
    name = msgspec.json.encode(key)
    content = msgspec.json.encode({"config": config, "siteApps": []})
    body = (
        b"(function(){window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{};"
        b"window._POSTHOG_REMOTE_CONFIG[" + name + b"]=" + content + b";})();"
    )
    return Response(
        200, body, {"content-type": "text/javascript", "cache-control": CACHED["cache_control"]}
    )


def _events(document: Any) -> list[Any]:
    """Return the events of a batch, of an array, or a single one. Raises ``ProblemError`` (400)."""
    events = document
    if isinstance(document, Mapping) and "batch" in document:
        events = document["batch"]
    if isinstance(events, Mapping) and "event" in events:
        events = [events]
    if not isinstance(events, list):
        raise no_batch("an object with an array `batch`, an array of events, or an event")
    return events


def _results(events: list[Any], outcome: Outcome) -> dict[str, Any]:
    """Return V1's result of each event that has an id: what is rejected need not be sent again."""
    rejected = {one.index: one for one in outcome.rejections}
    results: dict[str, Any] = {}
    for index, event in enumerate(events):
        name = event.get("uuid") if isinstance(event, Mapping) else None
        if not isinstance(name, str):
            continue
        why = rejected.get(index)
        if why is None:
            results[name] = {"result": "ok"}
        else:
            about = f"{why.reason} {why.field}: {why.detail}".strip(" :")
            results[name] = {"result": "drop", "details": about}
    return results


class _Reader:
    """Translates the events of a request, most of which have the same surroundings."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._last = b""
        self._context, self._kept = Context(), dict[str, Any]()

    def event(self, raw: Any) -> bytes | dict[str, Any]:
        """Translate one; what is no object is passed on."""
        if not isinstance(raw, dict):
            return as_bytes(raw)
        get = raw.get
        properties = get("properties")
        context = None
        members: Any = properties
        user, message_id = get("distinct_id"), get("uuid")
        if isinstance(properties, dict):
            if user is None:
                user = properties.get("distinct_id", properties.get("$distinct_id"))
            if message_id is None:
                message_id = properties.get("$insert_id")
            if not _CONTEXT.isdisjoint(properties):
                context, members = self._part(properties)
        extra = raw.keys() - _READ
        if extra:
            members = _more(raw, extra, members)
        return self._translation.event(
            get("event"),
            message_id=message_id,
            moment=_moment(self._translation, raw),
            user=user,
            properties=members,
            context=context,
            raw=raw,
        )

    def together(self, sent: Sequence[Any]) -> list[dict[str, Any]] | None:
        """Translate many, as ``event`` does; nothing unless all have what most have, and no more.

        The surroundings are looked at once, if all have the same.
        """
        table = columns.of(sent)
        if table is None or table.keys() - {"offset"} != _READ - {"offset"}:
            return None
        properties, users = table["properties"], table["distinct_id"]
        if set(map(type, properties)) != {dict} or None in users or "offset" in table:
            return None
        contexts, members = self._parts(properties)
        return self._translation.together(
            names=table["event"],
            message_ids=table["uuid"],
            times=table["timestamp"],
            users=users,
            properties=members,
            contexts=contexts,
        )

    def _parts(
        self, properties: Sequence[dict[str, Any]]
    ) -> tuple[list[Context], list[dict[str, Any]]]:
        """Part the properties of many."""
        table = columns.of(properties)
        said = [values for name, values in (table or {}).items() if name in _CONTEXT]
        as_sent = set(map(msgspec.json.encode, zip(*said, strict=True)))
        if table is None or len(as_sent) > 1:
            parted = list(map(self._part, properties))
            return [context for context, _ in parted], [rest for _, rest in parted]
        context, first = self._part(properties[0])
        rest = [name for name in table if name not in _CONTEXT]
        kept = {name: first[name] for name in first if name not in rest}
        rows = zip(*map(table.__getitem__, rest), strict=True) if rest else [()] * len(properties)
        members = [dict(zip(rest, row)) for row in rows]  # noqa: B905 (a third faster)
        if kept:
            members = [kept | one for one in members]
        return [context] * len(members), members

    def _part(self, properties: dict[str, Any]) -> tuple[Context, dict[str, Any]]:
        """Part what is said of the surroundings from the sender's own properties."""
        said: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, value in properties.items():
            (said if name in _CONTEXT else rest)[name] = value
        as_sent = msgspec.json.encode(said)  # in Python, 1 would equal True
        if as_sent != self._last:
            self._last = as_sent
            self._context, self._kept = _context(said)
        if self._kept:
            for name, value in self._kept.items():
                rest.setdefault(name, value)
        return self._context, rest


def _moment(translation: Translation, raw: Mapping[str, Any]) -> Any:
    """Return an event's time; ``offset`` is how long before it was sent it happened."""
    moment = raw.get("timestamp")
    offset = raw.get("offset")
    if moment is not None or isinstance(offset, bool) or not isinstance(offset, int | float):
        return moment
    at = translation.received_at - int(offset)
    return moments.iso(at) if moments.is_writable(at) else offset


def _more(raw: Mapping[str, Any], extra: set[str], properties: Any) -> dict[str, Any]:
    members = dict(properties) if isinstance(properties, dict) else {}
    if properties is not None and not isinstance(properties, dict):
        members["properties"] = properties
    for name in sorted(extra - _SECRET):
        value = raw[name]
        if name in _TRAITS:
            _traits(members, name, value)
        elif value is not None and value != {}:
            members.setdefault(name, value)
    return members


def _traits(members: dict[str, Any], name: str, value: Any) -> None:
    """Add what an event says of its user; what was set before keeps its name."""
    found: dict[str, Any] = {}
    flatten(found, _TRAITS[name], value)
    for key, trait in found.items():
        members.setdefault(key, trait)


def _context(properties: Mapping[str, Any]) -> tuple[Context, dict[str, Any]]:
    """Return page, device and place, and what of them is kept in ``properties`` besides."""
    context = Context()
    rest: dict[str, Any] = {}
    device: dict[str, Any] = {}
    place: dict[str, Any] = {}
    for name, value in properties.items():
        if (short := _DEVICE.get(name)) is not None:
            device[short] = value
        elif (short := _PLACE.get(name)) is not None:
            place[short] = value
        elif name in _TRAITS:
            _traits(rest, name, value)
        elif name not in _SECRET:
            rest[name] = value
    said = (properties.get(name) for name in ("$pathname", "$screen_name"))
    page = next((one for one in said if isinstance(one, str) and one), "")
    if not page and isinstance(properties.get("$current_url"), str):
        page = devices.path(properties["$current_url"])
    context.put("page", page)
    context.put("country", devices.country(place.get("country_code")))
    agent = device.get("user_agent")
    kind = devices.kind(device.get("device_type"))
    if not kind and isinstance(agent, str):
        kind = devices.kind_by_agent(agent)
    context.put("device", kind)
    context.put("device_info", device)
    context.put("geo_location", place)
    return context, rest
