"""Tells at once, of nearly every event, that the gate will accept it.

What the gate says is ClickHouse's to say (``verdict``). But an event of which each enforced rule
surely holds needs no question; and only what is certain counts here: whatever is unusual, an id in
quotes that might not be canonical, a key that might be there twice, a rule that this module does
not know, is left to the gate. So the two can't disagree, and a flood of good events asks nobody.

Where the gate takes the first of equal keys and this parser the last, no key that matters may be
there twice; and where this parser skips text that is no UTF-8, the body as a whole must be.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson
from msgspec import UNSET

from millrace.api.ingestion.columns import FEW, are_ids
from millrace.api.ingestion.rule_tests import Test, holds, never, test_of
from millrace.contract import people
from millrace.contract.fields import REQUIRED
from millrace.rules.model import Rule

UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch
PLAIN_TIME = re.compile(
    r"[12]\d{3}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)"
).fullmatch
DIGITS = re.compile(r"[1-9][0-9]{0,18}").fullmatch
MOST_USERS = 2**64
MARGIN = timedelta(seconds=120)
"""An event so near a bound on time may be beyond it when it is received."""

_DECIMAL = bytes.maketrans(b"123456789", b"0" * 9)
_TIME_SHAPES = frozenset(
    {b"0000-00-00T00:00:00Z"} | {b"0000-00-00T00:00:00.%sZ" % (b"0" * n) for n in range(1, 7)}
)
"""Ids and times of UTC, with each digit a zero: what a text has to look like, told of many."""

STATEFUL = frozenset({"known_user", "outlier", "user_rate"})
"""Rules that ask what else is known when the message is loaded; no answer speaks for them."""


class Certificate:
    """What is certain of the events of one source while one gate is in force."""

    def __init__(
        self,
        rules: Sequence[Rule],
        event_types: Iterable[str],
        *,
        message_max_bytes: int,
        retention_days: float,
        field_names: dict[str, str] | None = None,
    ) -> None:
        """Learn the enforced rules.

        Args:
            rules: Those that the gate was made of.
            event_types: The names that are registered and active.
            message_max_bytes: A longer message is the gate's to judge.
            retention_days: How long events are kept.
            field_names: The JSON keys that the source uses in place of the contract's.
        """
        self._names = {name: (field_names or {}).get(name, name) for name in REQUIRED}
        self._largest = message_max_bytes
        self._known = frozenset(event_types)
        self._oldest = timedelta(days=retention_days)
        self._ahead = timedelta(days=365)
        enforced = [
            r
            for r in rules
            if r.mode == "enforce" and r.rule_type in ("validation", "transformation")
        ]
        self._changed = {
            name for r in enforced if r.rule_type == "transformation" for name in _written(r)
        }
        self._asks_registered = False
        self._tests: dict[str | None, list[tuple[str, Test]]] = {None: []}
        for rule in enforced:
            if rule.rule_type == "validation":
                self._learn(rule, field_names or {})
        self._fields = sorted(
            {*self._names.values(), *(name for tests in self._tests.values() for name, _ in tests)}
        )
        self._marks = [msgspec.json.encode(name) for name in self._fields]
        self._find_marks = re.compile(b"|".join(map(re.escape, self._marks))).findall
        self._are_words = all(map(re.compile(r"\w+").fullmatch, self._fields))
        self._struct = msgspec.defstruct(
            "Event",
            [
                (f"f{number}", Any, msgspec.field(default=UNSET, name=name))
                for number, name in enumerate(self._fields)
            ],
            gc=False,
        )
        self._decoder = msgspec.json.Decoder(self._struct)
        self._all = operator.attrgetter(*(f"f{number}" for number in range(len(self._fields))))
        place = {name: f"f{number}" for number, name in enumerate(self._fields)}
        self._places = place
        self._user_key = self._names["user_id"]
        self._user_mark = msgspec.json.encode(self._user_key)
        self._user = place[self._user_key]
        self._required = operator.attrgetter(
            *(place[self._names[name]] for name in ("event_id", "event", "timestamp", "user_id"))
        )
        self._by_type = {
            scope: tuple((place[name], test) for name, test in (*self._tests[None], *own))
            for scope, own in self._tests.items()
            if scope is not None
        }
        self._for_all = tuple((place[name], test) for name, test in self._tests[None])
        self._is_blind = bool(self._changed & set(REQUIRED))
        self._bounds_at = datetime.min.replace(tzinfo=UTC)
        self._from = self._until = self._bounds_at

    def _learn(self, rule: Rule, names: dict[str, str]) -> None:
        """Add what a validation asks; what isn't understood is a test that nothing passes."""
        kind, config = rule.kind, rule.config
        if kind in STATEFUL:
            return
        if kind == "registered_event_type" and rule.event_type is None:
            self._asks_registered = True
        elif kind == "max_age":
            days = config.get("days")
            if days is not None:
                self._oldest = min(self._oldest, timedelta(days=min(float(days), 36_500)))
        elif kind == "max_ahead":
            self._ahead = min(self._ahead, timedelta(seconds=min(float(config["seconds"]), 3e7)))
        else:
            field = str(config.get("field") or self._names["event"])
            key = names.get(field, field)
            test = never if field in self._changed else test_of(kind, config)
            self._tests.setdefault(rule.event_type, []).append((key, test))

    @property
    def event_types(self) -> frozenset[str]:
        """The names that are registered and active."""
        return self._known

    def user_of(self, raw: bytes) -> str:
        """Return what an event says of its user, for its key; empty where that can't be read.

        Of equal keys the gate takes the first, and so does this.
        """
        try:
            if raw.count(self._user_mark) > 1 or b"\\u" in raw:
                user = next(value for name, value in _top_level(raw) if name == self._user_key)
            else:
                user = getattr(self._decoder.decode(raw), self._user)
        except (msgspec.DecodeError, RecursionError, ValueError, StopIteration):
            return ""
        if type(user) is float and people.is_exact(user):
            return str(int(user))
        return str(user) if type(user) in (int, str) else ""

    def users(
        self, events: Sequence[bytes | Mapping[str, Any]], values: Sequence[bytes], now: datetime
    ) -> list[str]:
        """Return the users of events, each as ``certify`` or ``certify_object`` says it.

        Of many they are told together, which takes a third of the time, where all are certain.

        Args:
            events: The events as they were sent: bytes, or objects.
            values: What Kafka gets of them.
            now: When they were received.
        """
        count = len(values)
        if count > FEW:
            users = self._users_of_all(events, values, now)
            if users is not None:
                return users
            half = count // 2  # some are not: the others may be
            return [
                *self.users(events[:half], values[:half], now),
                *self.users(events[half:], values[half:], now),
            ]
        return [
            self.certify(value, now, is_plain=is_plain(value))
            if isinstance(event, bytes)
            else self.certify_object(event, value, now)
            for event, value in zip(events, values, strict=True)
        ]

    def _users_of_all(
        self, events: Sequence[bytes | Mapping[str, Any]], values: Sequence[bytes], now: datetime
    ) -> list[str] | None:
        """Return the users of events, all of which the gate surely accepts, else nothing."""
        if self._is_blind or not self._are_words or max(map(len, values)) > self._largest:
            return None  # of words in quotes, no two overlap where they are keys
        together = b"\n".join(values)
        if not is_plain(together):
            return None
        columns: list[Sequence[Any]]
        kinds = set(map(type, events))
        if kinds == {dict}:
            columns = [[event.get(name, UNSET) for event in events] for name in self._fields]  # type: ignore[union-attr]
        elif kinds == {bytes}:
            try:
                columns = list(zip(*map(self._all, map(self._decoder.decode, values)), strict=True))
            except (msgspec.DecodeError, RecursionError):
                return None
            found = len(self._find_marks(together))
            if found != sum(len(column) - column.count(UNSET) for column in columns):
                return None  # a key is somewhere twice, or within something else
        else:
            return None
        return self._users_of(dict(zip(self._fields, columns, strict=True)), now)

    def _users_of(self, columns: Mapping[str, Sequence[Any]], now: datetime) -> list[str] | None:
        """Do so by the values of each field that matters."""
        names = self._names
        ids, types, times, users = (
            columns[names[name]] for name in ("event_id", "event", "timestamp", "user_id")
        )
        if {*map(type, ids), *map(type, types), *map(type, times)} != {str}:
            return None
        met = set(types)
        if "" in met or (self._asks_registered and not met <= self._known):
            return None
        if not are_ids(ids) or not self._are_timely(times, now):
            return None
        for scope, tests in self._tests.items():
            if scope is not None and scope not in met:
                continue
            for name, test in tests:
                values = columns[name]
                if scope is not None:
                    values = [one for one, of in zip(values, types, strict=True) if of == scope]
                if not holds(test, values):
                    return None
        return _as_texts(users)

    def _are_timely(self, texts: Sequence[str], now: datetime) -> bool:
        together = "\n".join(texts).encode("utf-8", "replace").replace(b"+00:00", b"Z")
        shapes = together.translate(_DECIMAL).split(b"\n")
        is_plain = len(shapes) == len(texts) and _TIME_SHAPES.issuperset(shapes)
        if not is_plain and not all(map(PLAIN_TIME, texts)):
            return False
        self._learn_bounds(now)
        try:
            moments = list(map(datetime.fromisoformat, texts))
        except ValueError:
            return False
        return self._from < min(moments) and max(moments) < self._until

    def certify(self, raw: bytes, now: datetime, *, is_plain: bool) -> str:
        """Return the user's id where the gate surely accepts the event, else nothing.

        ``is_plain`` says that what the event came in is (``is_plain``), so that it can be read the
        faster way.
        """
        if len(raw) > self._largest or self._is_blind:
            return ""
        if is_plain and not self._repeats(raw):
            try:
                return self._certain(self._decoder.decode(raw), now)
            except (msgspec.DecodeError, RecursionError):
                return ""
        try:
            pairs = _top_level(raw)
        except (ValueError, RecursionError):
            return ""
        values = {self._places[name]: value for name, value in pairs if name in self._places}
        is_repeated = len(values) != sum(name in self._places for name, _ in pairs)
        return "" if is_repeated else self._certain(self._struct(**values), now)

    def certify_object(self, event: Mapping[str, Any], encoded: bytes, now: datetime) -> str:
        """Do the same for an event that is an object still; no key of such is there twice."""
        if len(encoded) > self._largest or self._is_blind:
            return ""
        if b"\\u" in encoded:
            return self.certify(encoded, now, is_plain=False)
        places = self._places
        values = {places[name]: event[name] for name in self._fields if name in event}
        return self._certain(self._struct(**values), now)

    def _repeats(self, raw: bytes) -> bool:
        """Whether a key that matters may be there twice (a loop: this is asked of every event)."""
        count = raw.count
        for mark in self._marks:  # noqa: SIM110
            if count(mark) > 1:
                return True
        return False

    def _certain(self, event: Any, now: datetime) -> str:
        """Return the user's id of an event that keeps every enforced rule."""
        event_id, name, text, user = self._required(event)
        if type(name) is not str or not name or (self._asks_registered and name not in self._known):
            return ""
        if type(event_id) is not str or UUID(event_id) is None:
            return ""
        if type(user) is int and 0 < user < MOST_USERS:
            user = str(user)
        elif type(user) is not str or DIGITS(user) is None:
            return ""
        if not self._is_timely(text, now):
            return ""
        for place, test in self._by_type.get(name, self._for_all):
            if not test(getattr(event, place)):
                return ""
        return user

    def _is_timely(self, text: Any, now: datetime) -> bool:
        if type(text) is not str or PLAIN_TIME(text) is None:
            return False
        self._learn_bounds(now)
        try:
            return self._from < datetime.fromisoformat(text) < self._until
        except ValueError:
            return False

    def _learn_bounds(self, now: datetime) -> None:
        if now is not self._bounds_at:  # one moment for a batch
            self._from = now - self._oldest + MARGIN
            self._until = now + self._ahead - MARGIN
            self._bounds_at = now


def _as_texts(users: Sequence[Any]) -> list[str] | None:
    """Return users as texts, if all are surely users."""
    types = set(map(type, users))
    if types == {int}:
        return list(map(str, users)) if 0 < min(users) <= max(users) < MOST_USERS else None
    return list(users) if types == {str} and all(map(DIGITS, users)) else None


def _top_level(raw: bytes) -> list[tuple[str, Any]]:
    """Return an object's keys and values, equal keys too.

    Raises ``ValueError`` where it is no object, no JSON, or holds half a surrogate pair.
    """
    pairs: list[tuple[str, Any]] = []

    def hook(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs[:] = found  # the outermost comes last
        return dict(found)

    text = raw.decode()
    if not isinstance(json.loads(text, object_pairs_hook=hook, parse_constant=_refuse), dict):
        raise ValueError("no object")
    orjson.loads(raw)  # which takes no half of a surrogate pair
    return pairs


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's")


def is_plain(body: bytes) -> bool:
    """Tell whether a body is valid UTF-8, and escapes nothing by its number.

    Of several with line breaks between them, it is told at once: then each is so.
    """
    if b"\\" in body and b"\\u" in body:  # one byte is found far sooner than two
        return False
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _written(rule: Rule) -> Iterable[str]:
    """Return the fields that a transformation may change."""
    if rule.kind == "user_agent":
        return ("device",)
    fields = [str(rule.config["field"])]
    return [*fields, str(rule.config["to"])] if rule.kind == "rename" else fields
