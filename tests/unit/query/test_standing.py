"""Where ingest stands is asked for once, however many ask while Kafka takes its time."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from millrace.api.query.service import Service
from millrace.ingest import status
from millrace.settings import Settings


def test_many_who_ask_take_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Semaphore(0)
    answered = threading.Event()
    found = status.IngestStatus([], [], [], {})

    def slowly(*_: Any, **__: Any) -> status.IngestStatus:
        asked.release()
        assert answered.wait(30)
        return found

    monkeypatch.setattr(status, "read", slowly)

    async def many() -> list[status.IngestStatus]:
        service = Service(Settings(home=tmp_path))
        waiting = [asyncio.create_task(service.ingest_status()) for _ in range(100)]
        assert await asyncio.to_thread(asked.acquire, timeout=30)
        answered.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(many()) == [found] * 100
    assert not asked.acquire(blocking=False)
