"""From what an SDK sent to events of the contract: the same for every family of routes.

What can't be read is passed on as it is, so that the gate rejects it with its reason: there is no
second list of checks here. docs/ingestion-translation.md says what becomes of what.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha1
from types import NoneType
from typing import Any

import msgspec

from millrace.api.http import Request
from millrace.api.ingestion import columns, devices, moments
from millrace.api.ingestion.account import Account
from millrace.contract import people
from millrace.contract.fields import BY_NAME, OBJECTS

SKEW_SECONDS = 60
"""How far a client's clock may be off before its times are corrected."""

ORIGINAL_USER_ID = "original_user_id"
ANONYMOUS_ID = "anonymous_id"
ORIGINAL_TIMESTAMP = "original_timestamp"
ORIGINAL_EVENT = "original_event"
MESSAGE_ID = "message_id"
OURS = (ORIGINAL_USER_ID, ANONYMOUS_ID, ORIGINAL_TIMESTAMP, ORIGINAL_EVENT, MESSAGE_ID)
"""What a translated event has in ``properties`` of how it was sent."""

PAGE_VIEW = "page_view"
SCREEN_VIEW = "screen_view"
IDENTIFY = "identify"
GROUP = "group"
ALIAS = "alias"
TRAIT = "trait_"
"""What the names of traits (of people and groups) begin with in ``properties``."""

_SCALARS = (str, int, float)
_RESERVED = frozenset({*BY_NAME, *OURS})
_encode = msgspec.json.Encoder(order="deterministic", enc_hook=str).encode
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://millrace.dev/sources")


LONGEST_KNOWN = 200
"""Characters of an id whose number is remembered: who sends events sends several."""

_hashed = lru_cache(maxsize=16_384)(people.hashed)


@lru_cache(maxsize=1024)
def _namespace(source_id: str) -> bytes:
    return uuid.uuid5(_NAMESPACE, source_id).bytes


is_uuid = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}"
).fullmatch
"""Say whether a text is a UUID as the gate reads it: hyphens where they belong, or none."""


def event_id_of(message_id: str, source_id: str) -> str:
    """Return the ``event_id`` of a message: its id if that is a UUID, else a UUIDv5 of it."""
    if is_uuid(message_id):
        return message_id if len(message_id) == 36 else _hyphenated(message_id)
    return _uuid5(_namespace(source_id), message_id.encode("utf-8", "replace"))


def _uuid5(namespace: bytes, name: bytes) -> str:
    digest = bytearray(sha1(namespace + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return _hyphenated(digest.hex())


def _hyphenated(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Context:
    """What an event's surroundings say: fields of the contract, and the rest for properties."""

    __slots__ = ("fields", "rest")

    def __init__(self, **fields: Any) -> None:
        self.fields: dict[str, Any] = fields
        self.rest: dict[str, Any] = {}

    def put(self, field: str, value: Any) -> None:
        """Fill a field of the contract, if it is empty and the value is none."""
        if value and field not in self.fields:
            self.fields[field] = value

    def describe(self, field: str, prefix: str, value: Any) -> None:
        """Add to ``device_info`` or ``geo_location``: an object's members, or one value."""
        if value is not None and value != "":
            flatten(self.fields.setdefault(field, {}), prefix, value)


def flatten(into: dict[str, Any], prefix: str, value: Any) -> None:
    """Add an object's members under names with a prefix; what is no object, under the prefix."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            if member is not None:
                into[prefix + name] = member
    elif value is not None and value != "":
        into[prefix.rstrip("_") or "value"] = value


class Translation:
    """Translates the events of one request.

    Args:
        request: It says when the events were received.
        account: The source, its aliases and its settings.
        sent_at: When the client says that it sent them, by its own clock; nothing if it does not.
        aliases: The family's own words for what the contract has a name for.
    """

    def __init__(
        self,
        request: Request,
        account: Account,
        sent_at: Any = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.request = request
        self.source_id = account.source_id
        self.hash_key = account.hash_key
        self.received_at = request.received_at
        own = account.settings.get("aliases")
        self.aliases = {**(aliases or {}), **(own if isinstance(own, Mapping) else {})}
        limit = account.settings.get("skew_seconds", SKEW_SECONDS)
        self._skew = (limit if isinstance(limit, int | float) else SKEW_SECONDS) * 1000
        self._shifts: dict[Any, int] = {}
        self._request_shift = self._shift = self._shift_of(sent_at)
        self._same: dict[str, int] = {}
        self.agent = request.headers.get("user-agent", "")
        self._browser = devices.kind_by_agent(self.agent) if self.agent else ""
        self._country = ""
        if self._browser:  # a browser's own address, and not a server's that sends for many
            self._country = devices.country(request.headers.get("cf-ipcountry"))

    def event(
        self,
        name: Any,
        *,
        message_id: Any,
        moment: Any,
        user: Any,
        anonymous: Any = None,
        properties: Any = None,
        context: Context | None = None,
        raw: Any = None,
    ) -> dict[str, Any]:
        """Return an event of the contract.

        Args:
            name: What the sender calls it.
            message_id: Its id, if it has one; else one is made of its content, ``raw``.
            moment: When it happened, in any form (``moments``); when it was received, if nothing.
            user: The sender's id of the user, if known.
            anonymous: Its id of the device or browser.
            properties: The sender's own members; one that is no object becomes ``properties``.
            context: What was read of the surroundings.
            raw: The event as it came.
        """
        event: dict[str, Any] = {}
        ours: dict[str, Any] = {}
        # What nearly every event has is seen to here: a call each would cost more than all of it.
        if type(message_id) is str and len(message_id) == 36 and is_uuid(message_id):
            event["event_id"] = message_id
        else:
            event["event_id"] = self._event_id(message_id, moment, raw, ours)
        if type(name) is str and name not in self.aliases:
            event["event"] = name
        else:
            self._name(name, event, ours)
        if type(moment) is str and not self._shift and (text := moments.as_utc(moment)) is not None:
            event["timestamp"] = text
        else:
            self._time(moment, event, ours)
        self._person(user, anonymous, event, ours)
        if context is not None:
            event.update(context.fields)
        if self._browser:
            self._of_browser(event)
        event.update(ours)
        if properties:
            self._add(event, properties)
        if context is not None and context.rest:
            _add_rest(event, context.rest)
        return event

    def together(
        self,
        *,
        names: Sequence[Any],
        message_ids: Sequence[Any],
        times: Sequence[Any],
        users: Sequence[Any],
        anonymous: Sequence[Any] | None = None,
        properties: Sequence[dict[str, Any]],
        contexts: Sequence[Context],
    ) -> list[dict[str, Any]] | None:
        """Return what ``event`` returns of each of many events; nothing where one is unusual.

        What ``event`` asks of each is asked of all at once here. No context has a ``rest``.
        """
        if {*map(type, names), *map(type, message_ids), *map(type, times)} != {str}:
            return None
        if not columns.are_ids(message_ids) or not self.aliases.keys().isdisjoint(names):
            return None
        if not all(map(_RESERVED.isdisjoint, properties)):
            return None
        persons = self._people(users, anonymous)
        texts = None if self._shift else moments.all_as_utc(times)
        if texts is None:
            for moment, person in zip(times, persons, strict=True):
                if not self._shift and (text := moments.as_utc(moment)) is not None:
                    person["timestamp"] = text
                else:
                    self._time(moment, person, person)
        around = [context.fields for context in contexts]
        if self._browser:
            own = {"device": self._browser} | ({"country": self._country} if self._country else {})
            around = [own | fields for fields in around]
        return [
            {"event_id": one, "event": name, "timestamp": text, **person, **fields, **members}
            for one, name, text, person, fields, members in zip(
                message_ids, names, texts or times, persons, around, properties,
                strict=True,
            )
        ]  # fmt: skip

    def _people(
        self, users: Sequence[Any], anonymous: Sequence[Any] | None
    ) -> list[dict[str, Any]]:
        """Return what ``_person`` says of each of many."""
        are_known = anonymous is None or set(map(type, anonymous)) == {NoneType}
        are_texts = are_known and set(map(type, users)) == {str} and all(users)
        if are_texts and max(map(len, users)) <= LONGEST_KNOWN and not any(map(str.isdigit, users)):
            key = self.hash_key
            return [{"user_id": _hashed(who, key), ORIGINAL_USER_ID: who} for who in users]
        found: list[dict[str, Any]] = []
        for user, device in zip(users, anonymous or (None,) * len(users), strict=True):
            person: dict[str, Any] = {}
            self._person(user, device, person, person)
            found.append(person)
        return found

    def _of_browser(self, event: dict[str, Any]) -> None:
        event.setdefault("device", self._browser)
        if self._country:
            event.setdefault("country", self._country)

    def clock(self, sent_at: Any) -> None:
        """Say when what is translated next was sent, where events say so one by one."""
        self._shift = self._request_shift if sent_at is None else self._shift_of(sent_at)

    def visitor(self, address: Any = None, agent: Any = None) -> str:
        """Return an id of the visitor for a day, where the sender knows none.

        As Plausible and Umami make it: of day, source, address and user agent, hashed, so that
        neither is kept and nobody is followed to the next day. A server that sends for its visitors
        says the address and the agent of each.
        """
        day = self.received_at // 86_400_000
        address = address if isinstance(address, str) and address else self.request.client
        agent = agent if isinstance(agent, str) and agent else self.agent
        seen = f"{day}|{self.source_id}|{address}|{agent}"
        return f"visitor-{people.hashed(seen, self.hash_key):x}"

    def _event_id(self, message_id: Any, moment: Any, raw: Any, ours: dict[str, Any]) -> str:
        if isinstance(message_id, str) and message_id:
            if is_uuid(message_id):
                return message_id if len(message_id) == 36 else _hyphenated(message_id)
            ours[MESSAGE_ID] = message_id
            return _uuid5(_namespace(self.source_id), message_id.encode("utf-8", "replace"))
        if isinstance(message_id, int | float) and not isinstance(message_id, bool):
            return self._event_id(str(message_id), moment, raw, ours)
        content = _encode(raw).decode()
        if moment is None or moment == "":
            # Nothing tells two alike ones apart but that they were sent twice.
            content = f"{content}|{self.request.request_id}|{self.received_at}"
        nth = self._same.get(content, 0)
        self._same[content] = nth + 1
        return _uuid5(_namespace(self.source_id), f"{content}|{nth}".encode())

    def _name(self, name: Any, event: dict[str, Any], ours: dict[str, Any]) -> None:
        if isinstance(name, str):
            alias = self.aliases.get(name)
            if isinstance(alias, str) and alias and alias != name:
                ours[ORIGINAL_EVENT] = name
                name = alias
        if name is not None:
            event["event"] = name

    def _time(self, moment: Any, event: dict[str, Any], ours: dict[str, Any]) -> None:
        if moment is None or moment == "":
            event["timestamp"] = moments.iso(self.received_at)
            return
        shift = self._shift
        at = moments.milliseconds(moment)
        if at is None or not moments.is_writable(at + shift):
            event["timestamp"] = moment
        else:
            event["timestamp"] = moments.iso(at + shift)
            if shift:
                ours[ORIGINAL_TIMESTAMP] = moments.iso(at)

    def _shift_of(self, sent_at: Any) -> int:
        """Return by how many milliseconds a client's times are moved: 0, if its clock is right."""
        if sent_at is None or not isinstance(sent_at, _SCALARS):
            return 0
        shift = self._shifts.get(sent_at)
        if shift is None:
            at = moments.milliseconds(sent_at)
            shift = 0 if at is None else self.received_at - at
            shift = self._shifts[sent_at] = shift if abs(shift) > self._skew else 0
        return shift

    def _person(
        self, user: Any, anonymous: Any, event: dict[str, Any], ours: dict[str, Any]
    ) -> None:
        known = self._number(user, ORIGINAL_USER_ID, ours)
        if anonymous is not None and anonymous != "":
            if isinstance(anonymous, _SCALARS):
                ours[ANONYMOUS_ID] = anonymous
            if known is None:
                known = self._number(anonymous, ANONYMOUS_ID, ours)
        if known is not None:
            event["user_id"] = known

    def _number(self, who: Any, kept_as: str, ours: dict[str, Any]) -> Any:
        if who is None or who == "":
            return None
        if isinstance(who, str):
            text = who
        elif isinstance(who, bool) or not isinstance(who, _SCALARS):
            return who
        else:
            text = str(int(who) if people.is_exact(who) else who)
        number = people.canonical(text) if text.isdigit() else None
        if number is None:
            ours[kept_as] = text
            hashed = _hashed if len(text) <= LONGEST_KNOWN else people.hashed
            number = hashed(text, self.hash_key)
        return number

    def _add(self, event: dict[str, Any], properties: Any) -> None:
        if not isinstance(properties, dict):
            event["properties"] = properties
        elif _RESERVED.isdisjoint(properties):
            event.update(properties)
        else:
            for name, value in properties.items():
                if name not in _RESERVED or (name not in event and _fits(name, value)):
                    event[name] = value
                elif event.get(name) != value:
                    event["property_" + name] = value


def _add_rest(event: dict[str, Any], rest: Mapping[str, Any]) -> None:
    for key, value in rest.items():
        if key not in event and key not in _RESERVED:
            event[key] = value
        elif event.get(key) != value:
            event["context_" + key] = value


def _fits(name: str, value: Any) -> bool:
    """Say whether a property of the sender's is what the contract means by its name."""
    if name == "page":
        return isinstance(value, str)
    if name == "country":
        return isinstance(value, str) and devices.country(value) == value != ""
    if name == "device":
        return isinstance(value, str) and value in devices.KINDS
    return name in OBJECTS and isinstance(value, Mapping)
