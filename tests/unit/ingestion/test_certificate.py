"""What is certain of events: told of a batch at once, and of whose each is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millrace.api.ingestion.certificate import Certificate, is_plain

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
