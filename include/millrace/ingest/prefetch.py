"""Prefetching: the next micro-batch is read from Kafka while the last one is loaded."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait

from millrace.ingest.reader import Reader
from millrace.settings import Settings

BATCH_BYTES = 64 << 20
"""Bytes of messages that close a micro-batch, however few they are: what a worker may hold."""


class _AbandonedError(Exception):
    """What was being gathered is wanted no more."""


class Prefetcher:
    """A thread that gathers one micro-batch at a time.

    Nothing of it is claimed before ``finish``, so what is abandoned is simply read again. Between
    ``begin`` and ``finish`` or ``abandon`` nobody else may use the reader.
    """

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._settings = settings
        self._reader = reader
        self._thread = ThreadPoolExecutor(1, "gather")
        self._gathering: Future[bool] | None = None
        self._is_wanted = threading.Event()
        self._is_abandoned = threading.Event()

    def begin(self) -> None:
        """Gather on, until ``finish`` asks for it or the micro-batch is full."""
        self._is_wanted.clear()
        self._gathering = self._thread.submit(self._gather)

    def finish(self) -> bool:
        """Wait until the micro-batch closes; return whether anything was gathered.

        Raises what ``Reader.gather`` raises.
        """
        if self._gathering is None:
            self.begin()
        self._is_wanted.set()
        gathering, self._gathering = self._gathering, None
        return gathering is not None and gathering.result()

    def abandon(self) -> None:
        """Stop gathering; whatever went wrong meanwhile shows again when it is next read."""
        if self._gathering is None:
            return
        self._is_abandoned.set()
        wait({self._gathering})
        self._is_abandoned.clear()
        self._gathering = None

    def close(self) -> None:
        """Stop gathering, and the thread."""
        self.abandon()
        self._thread.shutdown()

    def _gather(self) -> bool:
        settings = self._settings
        linger_until = time.monotonic() + settings.ingest_linger_ms / 1000
        return self._reader.gather(
            settings.ingest_batch_rows,
            BATCH_BYTES,
            linger_until,
            self._is_asked_for,
        )

    def _is_asked_for(self) -> bool:
        if self._is_abandoned.is_set():
            raise _AbandonedError
        return self._is_wanted.is_set()
