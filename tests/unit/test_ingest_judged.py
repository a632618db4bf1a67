"""What the live view shows of a message can be sent to everyone who watches."""

from __future__ import annotations

import pytest

from millrace.contract.sources import Source
from millrace.ingest.judged import redacted

SOURCE = Source("shop", 1, "events", "events")


@pytest.mark.parametrize(
    "message",
    [b'{"event": "a\\ud800"}', b'{"a\\udc00": 1}', b'{"device_info": {"os\\ud800": "\\udfff"}}'],
)
def test_half_a_surrogate_pair_is_shown_as_a_substitute(message: bytes) -> None:
    shown = redacted(SOURCE, message)
    assert shown
    for name, value in shown.items():
        assert f"{name}{value}".encode()


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (b'{"event": "first", "event": "last"}', "first"),  # of equal keys, the first counts
        (b'{"event": 12345678901234567890123.50}', "12345678901234567890123.50"),
        (b'{"event": "whole", "n": ' + b"7" * 5_000 + b"}", "whole"),
        (b'{"event": NaN}', None),  # no JSON to the gate
        (b'["event"]', None),
    ],
)
def test_a_message_is_shown_as_the_gate_reads_it(message: bytes, shown: str | None) -> None:
    assert redacted(SOURCE, message).get("event") == shown
