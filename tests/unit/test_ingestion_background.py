"""What a worker does beside its requests outlives its failures, and holds none of them up."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from millrace.api.ingestion import names
from millrace.api.ingestion.account import Account
from millrace.api.ingestion.background import Repeated
from millrace.api.ingestion.batches import Batch
from millrace.settings import Settings
from millrace.stores import postgres
from millrace.usecases import gates


def test_what_is_repeated_goes_on_after_any_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "connect", lambda *_, **__: nullcontext())
    attempts: list[int] = []
    succeeded = Event()

    def work(_: Any) -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise RuntimeError("not foreseen")
        succeeded.set()

    repeated = Repeated(Settings(home=tmp_path), "keys", work, 0.01)
    repeated.start()
    try:
        assert succeeded.wait(60)
    finally:
        repeated.stop()


class FreshGates:
    """Gates of which a source's was made a moment ago: only who asks once more has it."""

    def __init__(self) -> None:
        self.read: dict[str, Any] = {}

    def refresh(self) -> None:
        """Have it."""
        self.read["shop"] = SimpleNamespace(certificate=SimpleNamespace(event_types=frozenset()))

    def of(self, source_id: str) -> Any:
        """Return what was read."""
        return self.read.get(source_id)

    async def known(self, source_id: str) -> Any:
        """Look once more."""
        self.refresh()
        return self.of(source_id)


def test_all_unseen_names_of_a_request_share_one_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    is_over = Event()

    def change(*_: Any) -> None:
        asked.append(1)
        is_over.wait(60)

    monkeypatch.setattr(gates, "change", change)
    monkeypatch.setattr(names, "PATIENCE_SECONDS", 0.05)
    standing: Any = FreshGates()

    async def meet() -> None:
        batch = Batch([{"event": f"unseen_{n}"} for n in range(5)], names_are_foreign=True)
        met = names.Names(Settings(home=tmp_path), standing)
        await met.meet(Account("shop", {}, b"key"), batch)
        is_over.set()

    asyncio.run(meet())
    assert len(asked) == 1
