"""What the live view keeps of what was received."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.api.ingestion import live
from millrace.contract.sources import Source
from millrace.settings import Settings


def test_the_last_batches_are_kept_within_so_many_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST_BYTES", 100)
    source = Source("shop", 1, "events", "events")
    kept = live.Live(Settings(home=tmp_path))
    for number in range(4):
        kept.note("shop", number + 1, [b'{"event": "click_%d"}' % number] * 2, [])
    assert [one["event"] for one in kept.received(source)] == ["click_2"] * 2 + ["click_3"] * 2


def test_what_was_received_earlier_and_durable_later_is_shown_too(tmp_path: Path) -> None:
    source = Source("shop", 1, "events", "events")
    kept = live.Live(Settings(home=tmp_path))
    assert kept.newest(source) == 0
    kept.note("shop", 200, [b'{"event": "quick"}'], [])
    seen = kept.newest(source)
    for received_at in (100, 200):
        kept.note("shop", received_at, [b'{"event": "slow_%d"}' % received_at], [])
    shown = [one["event"] for one in kept.received(source, seen)]
    assert shown == ["slow_100", "slow_200"]
