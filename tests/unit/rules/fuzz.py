"""Messages as nobody would write them, made from a seed."""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import Iterator
from typing import Any

TIMES = (
    "2026-01-01T11:59:59Z",
    "2026-01-01T12:10:00Z",
    "2026-01-01T12:10:00.001Z",
    "2025-10-03T12:00:00Z",
    "2025-10-03T11:59:59.999Z",
    "2026-01-01 10:00+01:00",
    "2026-01-01T10:00:00.123456789-0530",
    "2026-02-29T00:00:00Z",
    "2024-02-29T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T23:59:60Z",
    "2026-01-01T11:00:00",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "1767268800",
    "2026-01-01T11:00:00Z ",
    "2026-01-01T11:00:00+15:00",
    "\uff12026-01-01T11:00:00Z",
)
NUMBERS = ("0", "-0", "1", "01", "+1", "1.0", "1e3", "1E400", "-1", "1000000", "1000000.01", "nan")
NUMBERS += ("inf", "Infinity", "-1e-9", "0x10", "1_000", " 5", "5 ", ".5", "5.", "1e", "", "12e-1")
NUMBERS += ("18446744073709551615", "18446744073709551616", "99999999999999999999999", "1e19")
LITERALS = (b"NaN", b"Infinity", b"1e999", b"-1e999", b"99999999999999999999", b"01", b"1.", b"tru")
USERS = (b"12.0", b"1e2", b"0.5e1", b"1.5", b"0.99999999999999999", b"12345678901234567.0")
USERS += (b"12345678901234568.0", b"1.00000000000000000001", b"9007199254740993e0", b"1e-30")
USERS += (b"1.8446744073709551615e19", b"1e19", b"123456789012345678901.5", b"-0.0", b"120E-1")
BROKEN = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\x80", b"\x00")


def _value(rng: random.Random, level: int = 0) -> Any:
    kind = rng.randrange(10 if level < 4 else 7)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([0, -1, 1, 12.0, 1.5, 2**53, 2**63, 2**64 - 1, 2**64, 1e-7, 1e300])
    if kind == 2:
        return rng.choice(NUMBERS)
    if kind == 3:
        return rng.choice(TIMES)
    if kind < 7:
        alphabet = "aZ09 _-|'\"\\/\u00e9\u4e2d\U0001f600\n\t\u0000%{}"
        return "".join(rng.choice(alphabet) for _ in range(rng.randrange(12)))
    if kind == 7:
        return [_value(rng, level + 1) for _ in range(rng.randrange(4))]
    return {str(_value(rng, 9)): _value(rng, level + 1) for _ in range(rng.randrange(4))}


def _event(rng: random.Random) -> dict[str, Any]:
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "event": rng.choice(["page_view", "click", "purchase"]),
        "timestamp": rng.choice(TIMES[:4]),
        "user_id": rng.randrange(1, 2**40),
        "page": "/p",
        "country": "DE",
        "device": "mobile",
    }


FIELDS = ("event_id", "event", "timestamp", "user_id", "page", "country", "device", "amount")
FIELDS += ("device_info", "geo_location", "x", "", "event\u0000id")


def message(rng: random.Random) -> bytes:
    """Return one message: sound, spoiled a little, or garbage."""
    kind = rng.randrange(20)
    if kind == 0:
        return rng.randbytes(rng.randrange(60))
    if kind == 1:
        return rng.choice([b"", b" \n", b"[]", b"null", b'"x"', b"{}", b"{", b"\xef\xbb\xbf{}"])
    if kind == 2:
        depth = rng.choice([3, 900, 1022, 1023, 1024, 1100, 5000])
        return b'{"x":' + b"[" * depth + b"]" * depth + b"}"
    event = _event(rng)
    for _ in range(rng.randrange(4)):
        field = rng.choice(FIELDS)
        if rng.random() < 0.2:
            event.pop(field, None)
        elif field in ("timestamp",) and rng.random() < 0.7:
            event[field] = rng.choice(TIMES)
        elif field in ("user_id", "amount") and rng.random() < 0.7:
            event[field] = rng.choice(NUMBERS)
        elif field == "page" and rng.random() < 0.3:
            event[field] = "\u00e9" * rng.choice([2047, 2048, 2049])
        else:
            event[field] = _value(rng)
    text = json.dumps(event, ensure_ascii=rng.random() < 0.5).encode()
    if kind == 3:  # a key twice
        extra = json.dumps({rng.choice(FIELDS): _value(rng)}).encode()
        text = text[:-1] + b"," + extra[1:]
    if kind == 4:  # bytes that are not UTF-8, or a control character
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(BROKEN) + text[at:]
    if kind == 5:  # a number that JSON or a machine lacks
        text = text[:-1] + b',"n":' + rng.choice(LITERALS) + b"}"
    if kind == 6:  # cut short, or something after the end
        at = rng.randrange(len(text))
        text = text[:at] if rng.random() < 0.5 else text + rng.choice([b" ", b"x", b"{}", b"\x00"])
    if kind == 8:  # a user's number as a fraction, and another one in an object before it
        user = b'"user_id": ' + rng.choice(USERS)
        before = rng.choice([b"", b'"o": {"user_id": 7.0}, '])
        text = re.sub(rb'"user_id": [0-9]+', lambda _: before + user, text, count=1)
    if kind == 7:  # half a surrogate pair
        text = text[:-1] + rng.choice([b',"s":"\\ud800"}', b',"s":"\\ud83d\\ude00"}'])
    return text


def messages(seed: int, count: int) -> Iterator[bytes]:
    """Yield ``count`` messages; the same seed yields the same ones."""
    rng = random.Random(seed)
    for _ in range(count):
        yield message(rng)
