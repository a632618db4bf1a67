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
