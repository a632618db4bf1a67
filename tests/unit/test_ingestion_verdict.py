"""What an answer says of each reason that it may give."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from millrace.api.ingestion import verdict
from millrace.api.ingestion.verdict import DETAILS, STATEFUL, Doubt, Verdicts
from millrace.contract.failures import REASONS
from millrace.settings import Settings
from millrace.stores import clickhouse


def test_every_reason_is_explained_or_left_to_the_load() -> None:
    assert DETAILS.keys() | STATEFUL == set(REASONS)
    assert not DETAILS.keys() & STATEFUL


@pytest.mark.parametrize(
    "doubts",
    [
        [Doubt(0, bytes(verdict.MOST_BYTES_AT_ONCE), 0)],
        [Doubt(number, b"", 0) for number in range(verdict.MOST_WAITING // 4)],
    ],
    ids=["bytes", "events"],
)
def test_no_more_waits_than_there_is_room_for(
    doubts: list[Doubt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 MiB or 20,000 events: what comes then is answered at once, without a verdict."""
    is_asked, is_answering = Event(), Event()

    def query(_: str, external_data: Any) -> Any:
        messages = pa.ipc.open_stream(external_data.files[0].data).read_all()
        is_asked.set()
        is_answering.wait(60)
        return SimpleNamespace(result_rows=[(0, str(UUID(int=0)), [])] * len(messages))

    gate: Any = SimpleNamespace(statement=lambda *_, **__: "SELECT 1")
    monkeypatch.setattr(clickhouse, "connect", lambda *_: SimpleNamespace(query=query))
    monkeypatch.setattr(verdict, "PATIENCE_SECONDS", 60)

    async def ask() -> None:
        verdicts = Verdicts(Settings(home=tmp_path))
        first = asyncio.create_task(verdicts.judge(gate, [Doubt(0, b"first", 0)]))
        await asyncio.to_thread(is_asked.wait, 60)
        waiting = [asyncio.create_task(verdicts.judge(gate, doubts)) for _ in range(4)]
        await asyncio.sleep(0)
        assert await verdicts.judge(gate, [Doubt(0, b"!", 0)]) is None
        is_answering.set()
        assert await asyncio.gather(first, *waiting) == [[]] * 5
        await verdicts.close()

    asyncio.run(ask())


def test_what_nobody_waits_for_any_more_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[bytes]] = []
    is_answering = Event()

    def query(_: str, external_data: Any) -> Any:
        messages = pa.ipc.open_stream(external_data.files[0].data).read_all()["message"].to_pylist()
        asked.append(set(messages))
        is_answering.wait(60)
        return SimpleNamespace(result_rows=[(0, str(UUID(int=0)), [])] * len(messages))

    gate: Any = SimpleNamespace(statement=lambda *_, **__: "SELECT 1")
    monkeypatch.setattr(clickhouse, "connect", lambda *_: SimpleNamespace(query=query))

    async def ask() -> None:
        verdicts = Verdicts(Settings(home=tmp_path))
        monkeypatch.setattr(verdict, "PATIENCE_SECONDS", 0.05)
        for message in (b"first", b"second", b"third"):
            assert await verdicts.judge(gate, [Doubt(0, message, 0)]) is None
        monkeypatch.setattr(verdict, "PATIENCE_SECONDS", 60)
        last = asyncio.create_task(verdicts.judge(gate, [Doubt(0, b"last", 0)]))
        await asyncio.sleep(0)
        is_answering.set()
        assert await last == []
        await verdicts.close()

    asyncio.run(ask())
    assert asked == [{b"first"}, {b"last"}]
