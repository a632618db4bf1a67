"""OpenPanel, Umami and Plausible: one event a request, of visitors who may have no id."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from millrace.api.http import ProblemError, Request, parse
from millrace.api.ingestion import devices
from millrace.api.ingestion.batches import Batch
from millrace.api.ingestion.families.answers import as_bytes, no_batch
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


class OpenPanel(Family):
    """``/track``: a type and its payload; the key is in a header."""

    name: ClassVar[str] = "openpanel"
    routes = (("POST", "/track"),)

    _NAMES: ClassVar[dict[str, str]] = {
        "identify": IDENTIFY,
        "group": GROUP,
        "assign_group": "assign_group",
    }

    def read(self, request: Request, account: Account) -> Batch:
        """Translate an event, what is said of a person, or of a group."""
        raw = request.document
        payload = raw.get("payload") if isinstance(raw, Mapping) else None
        if not isinstance(payload, Mapping):
            raise no_batch("an object with `type` and `payload`")
        given = payload.get("properties")
        members: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
        moment, path = members.pop("__timestamp", None), members.get("__path")
        device = members.pop("__deviceId", None)
        kind = raw.get("type")
        rest = {
            name: value
            for name, value in payload.items()
            if name not in {"properties", "profileId", "name"} and value is not None
        }
        if kind in ("identify", "group"):
            found: dict[str, Any] = {}
            flatten(found, TRAIT, {**rest, **members})
            if "name" in payload:
                found[TRAIT + "name"] = payload["name"]
            members = found
        else:
            for name, value in rest.items():
                members.setdefault(name, value)
        translation = Translation(request, account, None, {"screen_view": PAGE_VIEW})
        context = Context()
        if isinstance(path, str):
            context.put("page", devices.path(path))
        user = payload.get("profileId")
        if kind == "group" and user is None:
            user = f"$group_{payload.get('id')}"
        if device is None and not user:
            device = translation.visitor(members.get("__ip"))
        name = payload.get("name") if kind == "track" else self._NAMES.get(str(kind), kind)
        event = translation.event(
            name,
            message_id=None,
            moment=moment,
            user=user,
            anonymous=device,
            properties=members,
            context=context,
            raw=raw,
        )
        return Batch((event,), names_are_foreign=True)


class Umami(Family):
    """``/api/send`` and ``/api/batch``; the key is the id of the website."""

    name: ClassVar[str] = "umami"
    routes = (("POST", "/api/send"), ("POST", "/api/batch"))

    _DEVICE = ("screen", "language", "browser", "os", "userAgent")

    def key(self, request: Request) -> str | None:
        """Return the website of the first event."""
        document = request.document
        if isinstance(document, list):
            document = document[0] if document else None
        payload = document.get("payload") if isinstance(document, Mapping) else None
        key = payload.get("website") if isinstance(payload, Mapping) else None
        return key if isinstance(key, str) else None

    def read(self, request: Request, account: Account) -> Batch:
        """Translate one event, or an array of them."""
        document = request.document
        if isinstance(document, Mapping) and isinstance(document.get("payload"), Mapping):
            document = [document]
        if not isinstance(document, list):
            raise no_batch("an object with `type` and `payload`, or an array of those")
        translation = Translation(request, account)
        return Batch.translated(document, partial(self._event, translation))

    def _event(self, translation: Translation, raw: Any) -> bytes | dict[str, Any]:
        payload = raw.get("payload") if isinstance(raw, Mapping) else None
        if not isinstance(payload, Mapping):
            return as_bytes(raw)
        is_identify = raw.get("type") == "identify"
        data = payload.get("data")
        members: dict[str, Any] = {}
        flatten(members, TRAIT if is_identify else "", data)
        context = Context()
        for name, value in payload.items():
            if name in self._DEVICE:
                context.describe("device_info", name + "_", value)
            elif name == "ip":
                context.describe("geo_location", "ip_", value)
            elif name not in {"name", "id", "data", "timestamp", "website"} and value is not None:
                members.setdefault(name, value)
        agent, address = payload.get("userAgent"), payload.get("url")
        context.put("page", devices.path(address) if isinstance(address, str) else "")
        context.put("device", devices.kind_by_agent(agent) if isinstance(agent, str) else "")
        user = payload.get("id")
        name = IDENTIFY if is_identify else payload.get("name") or PAGE_VIEW
        return translation.event(
            name,
            message_id=None,
            moment=payload.get("timestamp"),
            user=user,
            anonymous=None if user else translation.visitor(payload.get("ip"), agent),
            properties=members,
            context=context,
            raw=raw,
        )


class Plausible(Family):
    """``/api/event``; the key is the domain."""

    name: ClassVar[str] = "plausible"
    routes = (("POST", "/api/event"),)

    _NAMES: ClassVar[dict[str, str]] = {
        "r": "referrer",
        "referrer": "referrer",
        "w": "screen_width",
        "screen_width": "screen_width",
        "h": "hash_mode",
        "i": "interactive",
        "sd": "scroll_depth",
        "e": "engagement_time",
        "v": "script_version",
        "$": "revenue",
        "revenue": "revenue",
    }
    _READ = frozenset({*("n", "name", "u", "url", "d", "domain"), *("p", "props", "m", "meta")})

    def key(self, request: Request) -> str | None:
        """Return the domain."""
        document = request.document
        if not isinstance(document, Mapping):
            return None
        key = document.get("d", document.get("domain"))
        return key if isinstance(key, str) else None

    def read(self, request: Request, account: Account) -> Batch:
        """Translate an event, whose members have long names or short ones."""
        raw = request.document
        if not isinstance(raw, Mapping):
            raise no_batch("an object with `name`, `url` and `domain`")
        members: dict[str, Any] = {}
        for name in ("props", "p", "meta", "m"):
            flatten(members, "", self._props(raw.get(name)))
        for name, value in raw.items():
            if name not in self._READ and value is not None:
                members.setdefault(self._NAMES.get(name) or str(name), value)
        context = Context()
        address = raw.get("u", raw.get("url"))
        if isinstance(address, str):
            members.setdefault("url", address)
            context.put("page", devices.path(address))
        translation = Translation(request, account, None, {"pageview": PAGE_VIEW})
        event = translation.event(
            raw.get("n", raw.get("name")),
            message_id=None,
            moment=None,
            user=None,
            anonymous=translation.visitor(),
            properties=members,
            context=context,
            raw=raw,
        )
        return Batch((event,), names_are_foreign=True)

    @staticmethod
    def _props(given: Any) -> Any:
        """Return the properties, which old scripts write as a text of JSON."""
        if not isinstance(given, str):
            return given
        try:
            return parse(given)
        except ProblemError:
            return given
