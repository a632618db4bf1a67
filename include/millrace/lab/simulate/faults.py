"""What goes wrong in real traffic, each kind with the reason that it must be rejected for.

The mapping from a fault to its reason is written down here a second time on purpose: the oracle
shares nothing with the gate that it judges, only the documented list of reasons.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

Fields = dict[str, object]
"""An event's fields as they would have been sent, in order."""


@dataclass(frozen=True)
class Surroundings:
    """What a fault must know to stay on its side of a limit.

    ``now`` is when the message is sent, ``message_max_bytes`` and ``retention_days`` are the
    limits in force.
    """

    now: datetime
    message_max_bytes: int
    retention_days: int


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    ``rate`` is its default share of all messages; ``reason`` is the documented rejection reason,
    empty where the message is still to be accepted; ``spoil`` makes the bytes to send (``None``
    is a tombstone) of an event's fields.
    """

    rate: float
    reason: str
    spoil: Callable[[Fields, random.Random, Surroundings], bytes | None]


def iso(moment: datetime) -> str:
    """Return a time as the contract writes it: ISO 8601 in UTC with milliseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _encode(fields: Fields) -> bytes:
    return orjson.dumps(fields)


def _malformed(fields: Fields, rng: random.Random, _: Surroundings) -> bytes:
    text = _encode(fields)
    return rng.choice(
        [
            text[: rng.randrange(2, len(text) - 1)],  # cut off on its way
            text[1:],
            text.replace(b'":', b'"', 1),
            text.replace(b'"', b"'"),
            text[:-1] + b",}",
            text.replace(b'"event"', b"event", 1),
            b"[" + text + b"]",  # JSON, but no object
            b'"' + str(fields["user_id"]).encode() + b'"',
            b"null",
            b"42",
        ]
    )


def _binary(_fields: Fields, rng: random.Random, _: Surroundings) -> bytes:
    return b"\x00\xff\xfe" + rng.randbytes(rng.randrange(1, 400))


def _not_utf8(fields: Fields, rng: random.Random, _: Surroundings) -> bytes:
    broken = rng.choice([b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf"])
    return _encode({**fields, "page": "/broken@"}).replace(b"@", broken)


def _empty(_fields: Fields, rng: random.Random, _: Surroundings) -> bytes | None:
    return rng.choice([None, b"", b"   ", b"\r\n\t "])


def _huge(fields: Fields, rng: random.Random, around: Surroundings) -> bytes:
    padding = around.message_max_bytes + rng.randrange(1, 10_000)
    return _encode({**fields, "padding": "x" * padding})


def _missing(fields: Fields, rng: random.Random, _: Surroundings) -> bytes:
    name = rng.choice(["event_id", "event", "timestamp", "user_id"])
    if rng.random() < 0.6:
        return _encode({key: value for key, value in fields.items() if key != name})
    return _encode({**fields, name: rng.choice([None, ""])})


def _mistyped(fields: Fields, rng: random.Random, around: Surroundings) -> bytes:
    name, value = rng.choice(
        [
            ("event_id", "not-a-uuid"),
            ("event_id", str(fields["event_id"])[:-1]),
            ("event_id", 12345),
            ("timestamp", "yesterday"),
            ("timestamp", "2024-13-45T99:99:99Z"),
            ("timestamp", iso(around.now)[:-1]),  # no zone
            ("timestamp", {"at": "noon"}),
            ("user_id", "anonymous"),
            ("user_id", -7),
            ("user_id", 0),
            ("user_id", 3.5),
            ("user_id", [1]),
            ("user_id", True),
        ]
    )
    return _encode({**fields, name: value})


def _invalid_value(fields: Fields, rng: random.Random, _: Surroundings) -> bytes:
    wrong: Fields = rng.choice(
        [{"country": "Atlantis"}, {"country": "us"}, {"country": "U1"}, {"page": "/" + "x" * 2048}]
    )
    return _encode({**fields, **wrong})


def _out_of_range(fields: Fields, rng: random.Random, _: Surroundings) -> bytes:
    return _encode({**fields, "amount": rng.choice([-0.01, -500, 1_000_001, 1e300, "-3"])})


def _unknown_type(fields: Fields, rng: random.Random, _: Surroundings) -> bytes:
    return _encode({**fields, "event": rng.choice(["pageview", "PAGE_VIEW", "telemetry_v0"])})


def _too_old(fields: Fields, rng: random.Random, around: Surroundings) -> bytes:
    age = timedelta(days=around.retention_days + 1 + 300 * rng.random())
    return _encode({**fields, "timestamp": iso(around.now - age)})


def _future(fields: Fields, rng: random.Random, around: Surroundings) -> bytes:
    ahead = timedelta(days=1 + 300 * rng.random())
    return _encode({**fields, "timestamp": iso(around.now + ahead)})


def _quoted_number(fields: Fields, _rng: random.Random, _: Surroundings) -> bytes:
    return _encode({**fields, "user_id": str(fields["user_id"])})


def _odd_spelling(fields: Fields, rng: random.Random, _: Surroundings) -> bytes:
    """Spell a sound event as no SDK of ours would: spaces, escapes, another order, a zone."""
    moment = datetime.fromisoformat(str(fields["timestamp"]))
    zoned = moment.astimezone(rng.choice(_ZONES)).isoformat(timespec="milliseconds")
    names = list(fields)
    rng.shuffle(names)
    spelled = {name: fields[name] for name in names} | {"timestamp": zoned}
    return json.dumps(spelled, indent=rng.choice([None, 1, 4])).replace("/", "\\/").encode()


def _repeated_key(fields: Fields, _rng: random.Random, _: Surroundings) -> bytes:
    """Name a key twice; the first counts, the second would be rejected."""
    return _encode(fields)[:-1] + b',"event":"no_such_event"}'


_ZONES = [
    datetime.strptime(zone, "%z").tzinfo for zone in ("+0000", "+0530", "-0800", "+1245", "-0330")
]

FAULTS: dict[str, Fault] = {
    "malformed": Fault(0.003, "malformed_json", _malformed),
    "binary": Fault(0.001, "malformed_json", _binary),
    "not_utf8": Fault(0.0005, "malformed_json", _not_utf8),
    "empty": Fault(0.001, "empty_message", _empty),
    "huge": Fault(0.00001, "message_too_large", _huge),
    "missing_field": Fault(0.003, "missing_field", _missing),
    "mistyped_field": Fault(0.003, "invalid_type", _mistyped),
    "invalid_value": Fault(0.002, "invalid_value", _invalid_value),
    "out_of_range": Fault(0.001, "out_of_range", _out_of_range),
    "unknown_event_type": Fault(0.002, "unknown_event_type", _unknown_type),
    "too_old": Fault(0.001, "event_too_old", _too_old),
    "future": Fault(0.001, "event_in_future", _future),
    "quoted_number": Fault(0.005, "", _quoted_number),
    "odd_spelling": Fault(0.002, "", _odd_spelling),
    "repeated_key": Fault(0.0005, "", _repeated_key),
}
"""Every fault that concerns one message alone."""

LATE = "late"
"""Sent long after it happened, and still to be accepted."""

DUPLICATE = "duplicate"
"""A copy of an event sent before: at once or minutes later, to its own partition or another."""

RATES: dict[str, float] = {
    **{kind: fault.rate for kind, fault in FAULTS.items()},
    LATE: 0.01,
    DUPLICATE: 0.01,
}
"""The default share of all messages that each kind has."""


def rates(changes: dict[str, float], *, with_defaults: bool = True) -> dict[str, float]:
    """Return the rate of every kind, ``changes`` over the defaults (or over zero).

    Raises ``ValueError`` for an unknown kind, a rate outside 0 to 1, or a sum above 1.
    """
    unknown = sorted(set(changes) - set(RATES))
    if unknown:
        raise ValueError(f"no fault kind {unknown[0]!r}; the kinds are {', '.join(RATES)}")
    chosen = (RATES if with_defaults else dict.fromkeys(RATES, 0.0)) | changes
    for kind, rate in chosen.items():
        if not 0 <= rate <= 1:
            raise ValueError(f"the rate of {kind!r} must lie between 0 and 1, not {rate}")
    if sum(chosen.values()) > 1:
        raise ValueError("the fault rates add up to more than 1; lower some with --fault KIND=RATE")
    return chosen
