"""Events sent by hand: all or none are read, and what was not sent is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from millrace.cli.main import run
from millrace.contract import json_text, sources
from millrace.contract.sources import Source
from millrace.settings import Settings
from millrace.stores import kafka, postgres
from millrace.usecases import send_events
from millrace.usecases.send_events import SendError, completed


class _Producer:
    """Holds two messages at a time, and refuses those that hold a word."""

    def __init__(self) -> None:
        self.held: list[tuple[bytes, Callable[..., None]]] = []
        self.delivered: list[bytes] = []

    def produce(
        self, _topic: str, value: bytes, _key: bytes, on_delivery: Callable[..., None]
    ) -> None:
        if b"too large" in value:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        if len(self.held) == 2:
            raise BufferError("Local: Queue full")
        self.held.append((value, on_delivery))

    def poll(self, seconds: float) -> None:
        if seconds:
            self.flush()

    def flush(self) -> None:
        for value, told in self.held:
            self.delivered.append(value)
            told(None, _Message())
        self.held = []


class _Message:
    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> _Producer:
    made = _Producer()

    @contextmanager
    def connect(_settings: Settings) -> Iterator[None]:
        yield None

    monkeypatch.setattr(kafka, "producer", lambda _settings, **_options: made)
    monkeypatch.setattr(postgres, "connect", connect)
    monkeypatch.setattr(
        sources, "active", lambda _connection: [Source("default", 1, "events", "events")]
    )
    return made


def test_nothing_is_sent_before_all_can_be_read(producer: _Producer) -> None:
    texts = ['{"event": "a"}', '{"event": "b"}', '{"event": '] * 2
    with pytest.raises(SendError, match="is no JSON"):
        send_events.send(Settings(), map(completed, texts))
    assert not producer.delivered
    assert not producer.held


def test_more_events_are_sent_than_wait_at_a_time(producer: _Producer) -> None:
    events = [completed('{"user_id": "\\ud800"}') for _ in range(7)]
    assert len(send_events.send(Settings(), events)) == 7
    assert len(producer.delivered) == 7


def test_what_is_sent_is_what_was_typed(producer: _Producer) -> None:
    typed = '{"event": "a", "event": "b", "n": 1.50, "id": 12345678901234567890123, "t": "\\udc00"}'
    send_events.send(Settings(), [completed(typed)])
    (value,) = producer.delivered
    sent = json_text.fields(value.decode())
    assert sent["event"][0] == "a"  # of equal keys, the first counts
    assert sent["n"][1] == "1.50"
    assert sent["id"][1] == "12345678901234567890123"
    assert sent["t"][1] == '"\\udc00"'


@pytest.mark.parametrize("text", ["[1]", '{"n": NaN}', '{"a": 1} x', '{"a":' * 100_000])
def test_what_is_no_object_of_json_is_refused(text: str) -> None:
    with pytest.raises(SendError, match="is no JSON object"):
        completed(text)


def test_lines_of_events_end_where_json_lines_do(
    producer: _Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sys.stdin", StringIO('{"page": "one\u2028\x85line"}\n\n{"page": "two"}\r\n')
    )
    with pytest.raises(SystemExit, match="0"):
        run(["send"])
    assert len(producer.delivered) == 2


def test_the_events_that_were_not_sent_are_named(producer: _Producer) -> None:
    def event(number: int, **more: Any) -> dict[str, Any]:
        return {"event_id": f"id-{number}", "user_id": 1, **more}

    events = [event(1), event(2, page="too large"), event(3)]
    with pytest.raises(SendError, match=r"refused 1 of 3: .*others were sent; .*: id-2$"):
        send_events.send(Settings(), events)
    assert len(producer.delivered) == 2
