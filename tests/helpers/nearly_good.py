"""Events that are nearly good, as senders write them, and the rules that they nearly keep."""

from __future__ import annotations

import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from millrace.rules.model import Rule
from millrace.settings import REPOSITORY

TYPES = ("page_view", "purchase")
NOW = datetime.now(UTC)

EXTRA = [
    Rule("r1", "validation", {"check": "range", "field": "amount", "min": 0.1, "max": 99.5}),
    Rule("r2", "validation", {"check": "length", "field": "page", "min": 2, "max": 12}),
    Rule("r3", "validation", {"check": "pattern", "field": "code", "pattern": "^a.c$|^é+$"}),
    Rule("r4", "validation", {"check": "allowed_values", "field": "plan", "values": ["a", "b"]}),
    Rule("r5", "validation", {"check": "required", "field": "cart"}, event_type="purchase"),
    Rule("r6", "validation", {"check": "type", "field": "n", "type": "integer"}),
    Rule("r7", "validation", {"check": "type", "field": "s", "type": "string"}),
    Rule("r8", "validation", {"check": "type", "field": "x", "type": "number"}),
    Rule("r9", "validation", {"check": "max_age", "days": 3}),
]


def seeds() -> list[Rule]:
    """Return the rules that every installation starts with."""
    path = REPOSITORY / "include" / "seeds" / "processing_rules.yaml"
    return [Rule(**{"source_id": None, **r}) for r in yaml.safe_load(path.read_text())]


VALUES: dict[str, list[Any]] = {
    "event_id": ["", "x", None, 7, "7d4448409dc011d1b2455ffdce74fad2", "{7d444840}", []],
    "event": ["", None, "unknown", "Page_View", 1, {}, "purchase", "page_view\n"],
    "timestamp": [
        *(
            (NOW + timedelta(seconds=s)).isoformat()
            for s in (-4 * 86400, -3 * 86400 - 30, -3 * 86400 + 30, -60, 0, 500, 590, 610, 9e6)
        ),
        "2026-02-30T00:00:00Z", "2026-11-29 10:00:00Z", "2026-11-29T24:00:00Z", "0001-01-01T00:00Z",
        NOW.isoformat()[:-6], NOW.isoformat().replace("+00:00", "Z"), 1, None,
        NOW.astimezone(UTC).isoformat().replace("+00:00", "+13:59"),
    ],
    "user_id": [
        0, 1, 2**63, 2**64 - 1, 2**64, -1, 1.0, 1.5, "1", "01", "", "18446744073709551615",
        "18446744073709551616", "+1", "1.0", None, True, [], "9" * 19,
    ],
    "page": ["", "/", "/a", "/" * 12, "/" * 13, "/é" * 6, "/é" * 7, 12, None, "/\x01a", "/😀" * 5],
    "country": ["DE", "de", "", None, "DEU", 12, "ÄÖ", "DE\n"],
    "amount": [0.1, 0.09999999, 99.5, 99.50000001, 0, 5, "5", "abc", None, True, -1, 10**30, 1e300],
    "code": ["abc", "a\nc", "ac", "éé", "", None, 5, "xabc"],
    "plan": ["a", "b", "c", "", None, 1, ["a"]],
    "cart": ["", "x", None, 0, 1, [], {}],
    "n": [1, 1.0, 1.5, "1", "x", None, True, -0, 10**25],
    "s": ["1", 1, "true", True, None, "[1]", [1], "{", ""],
    "x": [1, 1.5, "1", "x", None, True, 1e308],
    "device_info": [{"os": "x"}, {"user_id": 5}, "x", None],
    "properties": [{"event": "x", "page": "y"}, "user_id", "\u0000", "é"],
}  # fmt: skip


def good(rng: random.Random) -> dict[str, Any]:
    """Return an event that nothing speaks against."""
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "event": rng.choice(TYPES),
        "timestamp": NOW.isoformat(),
        "user_id": rng.randrange(1, 10**12),
        "page": "/page",
        "cart": "c",
    }


def message(rng: random.Random) -> tuple[dict[str, Any], bytes]:
    """Return an event with a fault or two, and how somebody wrote it."""
    event = good(rng)
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(list(VALUES))
        event[name] = rng.choice(VALUES[name])
    raw = json.dumps(event, ensure_ascii=rng.random() < 0.5).encode()
    return event, damaged(raw, rng)


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """What travels badly: keys that are there twice, bytes that are no text, more digits."""
    kind = rng.random()
    if kind < 0.05:  # whose last is good
        again = {**good(rng), "country": "DE", "amount": 1.5, "code": "abc", "n": 1}
        name = rng.choice(list(again))
        return raw[:-1] + f', "{name}": {json.dumps(again[name])}}}'.encode()
    if kind < 0.06:
        return raw[:-1] + b', "user_id": "other"}'
    if kind < 0.08:
        return raw[:-1] + b', "\\u0065vent": "unknown"}'
    if kind < 0.1:
        return raw[:-1] + b', "extra": "\xff"}'
    if kind < 0.12:
        return raw[:-1] + b', "amount": 99.500000000000000000001}'
    if kind < 0.14:
        return raw[:-1] + b', "extra": "\\ud800"}'
    if kind < 0.16:
        return raw[: rng.randrange(len(raw))]
    if kind < 0.18:
        return b"  " + raw.replace(b": ", b" : ") + b"\n"
    return raw
