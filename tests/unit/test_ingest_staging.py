"""A message at which the gate fails is rejected alone; one that can't be judged now waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from millrace.contract.sources import Source
from millrace.ingest.arrow import MESSAGES
from millrace.ingest.model import Batch, Range
from millrace.ingest.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import clickhouse

SOURCE = Source("shop", 1, "events", "events")
BATCH = Batch(1, 1, 0, 1, datetime(2026, 11, 29, tzinfo=UTC), 1, (Range(0, 0, 8),))


class Server:
    """Refuses to stage more than ``most`` messages, or that of offset 5 among some."""

    def __init__(self, code: int, most: int = 100, taken: float = 0.1) -> None:
        self.code, self.most, self.taken = code, most, taken
        self.incoming = pa.table({})
        self.rejected: list[int] = []

    def raw_insert(self, _: str, names: Any, stream: Iterable[bytes], fmt: str) -> None:
        """Take what is sent."""
        assert fmt == "ArrowStream"
        self.incoming = pa.ipc.open_stream(b"".join(stream)).read_all()

    def command(self, statement: str, **_: Any) -> None:
        """Run a statement, or refuse it."""
        if statement == "TRUNCATE TABLE incoming":
            self.incoming = pa.table({"offset": []})
        elif "INSERT INTO staged" in statement:
            offsets = self.incoming["offset"].to_pylist()
            if 5 in offsets or len(offsets) > self.most:
                raise _refusal(self.code)

    def query(self, statement: str) -> SimpleNamespace:
        """Say how much of its memory is taken."""
        assert "MemoryTracking" in statement
        return SimpleNamespace(result_rows=[(self.taken, 1.0)])

    def insert(self, _: str, rows: list[list[Any]], **__: Any) -> None:
        """Note what is rejected."""
        self.rejected += [row[1] for row in rows]


@pytest.fixture
def of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], Warehouse]:
    """Return a loader's side whose server is the one given."""

    def made(server: Server) -> Warehouse:
        monkeypatch.setattr(clickhouse, "connect", lambda *_args, **_options: server)
        return Warehouse(Settings(home=tmp_path), SOURCE, 1)

    return made


def _refusal(code: int) -> ClickHouseError:
    return DatabaseError(f"Code: {code}. DB::Exception: no", code=code)


def _messages(count: int) -> pa.Table:
    blank = {"partition": 0, "kafka_timestamp": 0, "key": b"", "value": b"{}", "headers": b""}
    return pa.Table.from_pylist([{**blank, "offset": n} for n in range(count)], schema=MESSAGES)


def test_a_message_at_which_the_gate_fails_is_rejected_alone(
    of: Callable[[Server], Warehouse],
) -> None:
    server = Server(code=6)
    of(server).stage(BATCH, "SELECT 1", _messages(8))
    assert server.rejected == [5]


@pytest.mark.parametrize("code", [159, 164, 202, 241, 242, 243, 394])
def test_what_the_server_can_not_do_now_rejects_nothing(
    of: Callable[[Server], Warehouse], code: int
) -> None:
    server = Server(code)
    with pytest.raises(ClickHouseError):
        of(server).stage(BATCH, "SELECT 1", _messages(8))
    assert server.rejected == []


def test_what_the_server_can_never_do_holds_nothing_back_for_good(
    of: Callable[[Server], Warehouse],
) -> None:
    server = Server(code=241)
    of(server).stage(replace(BATCH, attempts=30), "SELECT 1", _messages(8))
    assert server.rejected == [5]


def test_a_message_is_not_blamed_for_what_others_take(of: Callable[[Server], Warehouse]) -> None:
    server = Server(code=241, taken=0.9)
    with pytest.raises(ClickHouseError):
        of(server).stage(replace(BATCH, attempts=30), "SELECT 1", _messages(8))
    assert server.rejected == []


def test_a_batch_too_large_for_the_server_is_staged_in_pieces(
    of: Callable[[Server], Warehouse],
) -> None:
    server = Server(code=241, most=3)
    of(server).stage(BATCH, "SELECT 1", _messages(5))
    assert server.rejected == []
