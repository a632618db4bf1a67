"""Kafka headers in the form that is kept: nothing of them is lost."""

from __future__ import annotations

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from millrace.stores import headers

ANY = st.lists(st.tuples(st.binary(max_size=8), st.none() | st.binary(max_size=8)), max_size=5)


@given(ANY)
def test_what_was_kept_is_read_again(given):
    stored = headers.encode(given)
    assert headers.decode(stored.decode("ascii")) == given


def test_sound_names_are_kept_as_text():
    assert headers.encode([(b"h", b"\x00\x01"), ("é".encode(), None)]) == (
        b'[["h","AAE="],["\\u00e9",null]]'
    )
    assert headers.encode([]) == b""


@given(ANY)
def test_what_is_sent_has_every_value_and_tells_the_odd_names(given):
    sent = headers.sendable(given)
    odd = [name for name, _ in given if name.decode(errors="replace").encode() != name]
    told = json.loads(sent.pop()[1]) if odd else []
    assert [value for _, value in sent] == [value for _, value in given]
    assert [base64.b64decode(name) for _, name in told] == odd
    shown = [name for name, _ in told]
    for (name, _), (as_sent, _) in zip(given, sent, strict=True):
        assert as_sent == (shown.pop(0) if name in odd else name.decode())
    assert shown == []
