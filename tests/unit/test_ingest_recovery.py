"""What recovery decides, by what ledger, Kafka and warehouse say; no server is asked."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import Mock

import pyarrow as pa
import pytest

from millrace.ingest import recovery
from millrace.ingest.arrow import MESSAGES
from millrace.ingest.ledger import Ledger, Position
from millrace.ingest.model import Batch, LeaseLostError, PlanOutdatedError, Range
from millrace.ingest.reader import OffsetGoneError, Reader
from millrace.ingest.warehouse import Warehouse

AT = datetime(2026, 1, 1, tzinfo=UTC)


def position(next_offset: int = 10, partition: int = 0, epoch: int = 1) -> Position:
    return Position(partition, epoch, next_offset, "topic-id", 0)


def messages(partition: int, *offsets: int) -> pa.Table:
    rows = [
        {"partition": partition, "offset": o, "kafka_timestamp": AT, "key": b"", "value": b"v"}
        for o in offsets
    ]
    return pa.Table.from_pylist([{**row, "headers": b""} for row in rows], schema=MESSAGES)


@pytest.fixture
def ledger() -> Mock:
    made = Mock(spec=Ledger, owner="run/0/1")
    made.connection = Mock()
    made.connection.transaction.return_value.__enter__ = Mock()
    made.connection.transaction.return_value.__exit__ = Mock(return_value=False)
    made.source = Mock(topic="events")
    made.run.return_value = []
    return made


@pytest.fixture
def reader() -> Mock:
    return Mock(spec=Reader)


@pytest.fixture
def warehouse() -> Mock:
    made = Mock(spec=Warehouse)
    made.stored_beyond.return_value = []
    return made


@pytest.fixture(autouse=True)
def same_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "check_topic", lambda _ledger, _topic_id: None)


def test_what_retention_took_is_skipped_and_told(ledger: Mock, reader: Mock) -> None:
    reader.watermarks.return_value = (15, 20)
    recovery.skip_lost(ledger, reader, position(10))
    place, next_offset, detail = ledger.lose.call_args.args
    assert (place, next_offset) == (position(10), 15)
    assert "retention" in detail


def test_an_offset_that_is_there_after_all_is_not_skipped(ledger: Mock, reader: Mock) -> None:
    reader.watermarks.return_value = (5, 20)
    recovery.skip_lost(ledger, reader, position(10))
    ledger.lose.assert_not_called()


def test_a_log_that_ends_before_the_position_is_planned_again(ledger: Mock, reader: Mock) -> None:
    reader.watermarks.return_value = (0, 9)
    with pytest.raises(PlanOutdatedError, match="ends at 9"):
        recovery.skip_lost(ledger, reader, position(10))


def row(next_offset: int, owner: str = "run/0/1", epoch: int = 1) -> dict[str, object]:
    return {
        "partition": 0,
        "next_offset": next_offset,
        "owner": owner,
        "epoch": epoch,
        "topic_id": "topic-id",
        "topic_incarnation": 0,
    }


def test_positions_follow_the_ledger(ledger: Mock, warehouse: Mock) -> None:
    ledger.positions.return_value = [row(12)]
    assert recovery.check_ledger(ledger, warehouse, {0: position(10)}) == {0: position(12)}


@pytest.mark.parametrize(
    ("found", "error"),
    [
        (row(9), PlanOutdatedError),
        (row(10, owner="other/0/1"), LeaseLostError),
        (row(10, epoch=2), LeaseLostError),
    ],
)
def test_a_ledger_that_is_not_the_known_one_ends_the_run(
    ledger: Mock, warehouse: Mock, found: dict[str, object], error: type[Exception]
) -> None:
    ledger.positions.return_value = [found]
    with pytest.raises(error):
        recovery.check_ledger(ledger, warehouse, {0: position(10)})


def batch(*ranges: Range) -> Batch:
    return Batch(7, 1, 0, 2, AT, 0, ranges)


def offsets(table: pa.Table) -> list[tuple[int, int]]:
    return [(one["partition"], one["offset"]) for one in table.to_pylist()]


def test_kafka_gives_a_whole_batch_again(ledger: Mock, reader: Mock, warehouse: Mock) -> None:
    reader.read.return_value = messages(0, 10, 11)
    one = batch(Range(0, 10, 12))
    found = recovery.messages_of(one, ledger, warehouse, reader, [0], lambda: False)
    assert offsets(found) == [(0, 10), (0, 11)]
    warehouse.kept_messages.assert_not_called()


def test_what_kafka_lost_comes_from_what_was_kept_and_the_rest_from_kafka(
    ledger: Mock, reader: Mock, warehouse: Mock
) -> None:
    reader.read.side_effect = [OffsetGoneError(1), messages(1, 13)]
    reader.watermarks.return_value = (13, 20)
    warehouse.kept_messages.return_value = messages(0, 5)
    two = batch(Range(0, 5, 6), Range(1, 10, 14))
    found = recovery.messages_of(two, ledger, warehouse, reader, [0, 1], lambda: False)
    assert offsets(found) == [(0, 5), (1, 13)]
    kind, lost, _, detail = ledger.incident.call_args.args
    assert (kind, lost) == ("data_loss", Range(1, 10, 13))
    assert "deleted" not in detail


def test_of_a_deleted_topic_only_what_was_kept_is_left(ledger: Mock, warehouse: Mock) -> None:
    warehouse.kept_messages.return_value = messages(0, 5)
    two = batch(Range(0, 5, 6), Range(1, 10, 14))
    found = recovery.messages_of(two, ledger, warehouse, None, [0, 1], lambda: False)
    assert offsets(found) == [(0, 5)]
    _, lost, _, detail = ledger.incident.call_args.args
    assert lost == Range(1, 10, 14)
    assert "the topic was deleted" in detail
