"""A producer whose process dies in the middle of its work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from millrace.settings import Settings
from millrace.stores import kafka


class CrashError(BaseException):
    """Stands for the end of a process: nothing that handles errors may catch it."""


class DyingProducer:
    """Another producer, until it is given its ``last`` message, which it still sends if told so."""

    def __init__(self, producer: Any, last: int, *, is_sent: bool) -> None:
        self._producer, self._left, self._is_sent = producer, last, is_sent

    def produce(self, *arguments: Any, **options: Any) -> None:
        """Send a message, or die."""
        self._left -= 1
        if self._left > 0 or self._is_sent:
            self._producer.produce(*arguments, **options)
        if self._left == 0:
            self._producer.flush(30)
            raise CrashError

    def __len__(self) -> int:
        return len(self._producer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, last: int, *, is_sent: bool) -> Iterator[None]:
    """Let every producer that is made meanwhile die with its ``last`` message."""
    make = kafka.producer

    def producer(settings: Settings, **overrides: object) -> Any:
        return DyingProducer(make(settings, **overrides), last, is_sent=is_sent)

    with monkeypatch.context() as patched:
        patched.setattr(kafka, "producer", producer)
        yield
