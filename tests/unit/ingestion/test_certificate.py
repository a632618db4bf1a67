"""What is certain of events: told of a batch at once, and of whose each is."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millrace.api.ingestion.certificate import Certificate, is_plain
from millrace.api.ingestion.columns import FEW
from millrace.rules.model import Rule
from tests.helpers.nearly_good import EXTRA, NOW, TYPES, good, message, seeds

PIECES = st.sampled_from(
    [b"{", b'"a"', b"\\", b"u0041", b"\\u0041", "é".encode(), b"\xc3", b"\xa9"]
)
EVENTS = st.lists(st.lists(PIECES, max_size=4).map(b"".join), min_size=1, max_size=4)


@given(EVENTS)
@example([b"\\", b"u0041"])
@example([b"\xc3", b"\xa9"])
def test_events_are_plain_together_if_each_is(events: list[bytes]) -> None:
    assert is_plain(b"\n".join(events)) == all(is_plain(event) for event in events)


@pytest.mark.parametrize(
    ("event", "user"),
    [
        (b'{"user_id": 12}', "12"),
        (b'{"user_id": "12"}', "12"),
        (b'{"user_id": 12.0}', "12"),
        (b'{"user_id": 9007199254740993.0}', ""),
        (b'{"user_id": 1.5}', ""),
        (b'{"user_id": 7, "user_id": 8}', "7"),
        (b'{"user\\u005fid": 7, "user_id": 8}', "7"),
        (b'{"properties": {"user_id": 8}, "user_id": 7}', "7"),
        (b'{"properties": {"user_id": 8}}', ""),
        (b'{"user_id": 7', ""),
        (b"[7]", ""),
    ],
)
def test_a_doubtful_event_is_keyed_as_the_gate_reads_its_user(event: bytes, user: str) -> None:
    certificate = Certificate([], (), message_max_bytes=1 << 20, retention_days=90)
    assert certificate.user_of(event) == user


def test_events_are_certain_together_as_one_by_one() -> None:
    rng = random.Random(7)
    certificate = Certificate(
        [*seeds(), *EXTRA], TYPES, message_max_bytes=1 << 20, retention_days=90
    )
    beside = [good(rng) for _ in range(FEW)]
    as_bytes = [json.dumps(one).encode() for one in beside]
    certain = 0
    for _ in range(5_000):
        event, raw = message(rng)
        value = msgspec.json.encode(event)
        at = rng.randrange(FEW)
        both: Any = (([*as_bytes], raw), ([*beside], event))
        for events, one in both:
            events.insert(at, one)
            values = [e if isinstance(e, bytes) else msgspec.json.encode(e) for e in events]
            values[at] = raw if isinstance(one, bytes) else value
            alone = certificate.users([one], [values[at]], NOW)
            assert certificate.users(events, values, NOW)[at] == alone[0], values[at]
            certain += bool(alone[0])
    assert certain > 2_000


@pytest.mark.parametrize("field", ["page", ","])
def test_a_key_that_is_there_twice_is_seen_among_many(field: str) -> None:
    rng = random.Random(7)
    rule = Rule("odd", "validation", {"check": "type", "field": field, "type": "string"})
    certificate = Certificate([*seeds(), rule], TYPES, message_max_bytes=1 << 20, retention_days=90)
    events = [json.dumps({**good(rng), "a": "v"}).encode() for _ in range(2 * FEW)]
    assert all(certificate.users(events, events, NOW))
    for odd, is_certain in (
        (b', "event": "x"}', False),
        (b', "page": "/x"}', False),
        (b', ",": "x", ",": 5}', field != ","),
        (b', "a": ",", "event": "x"}', False),
        (b', "b": {"user_id": 0}}', True),
    ):
        among = [*events[:5], events[5][:-1] + odd, *events[6:]]
        users = certificate.users(among, among, NOW)
        assert bool(users[5]) == is_certain
        assert all(users[:5] + users[6:])
