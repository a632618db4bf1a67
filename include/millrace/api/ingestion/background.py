"""What a worker keeps in step with PostgreSQL beside its requests, and goes on without."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

import psycopg
from psycopg.rows import DictRow

from millrace.settings import Settings
from millrace.stores import postgres

log = logging.getLogger(__name__)


class Repeated:
    """Runs ``work`` on a connection of its own every so many seconds, in a thread.

    Whatever fails is tried again, since what isn't refreshed holds no revocation any more: said
    once in the log when it begins, once when it is over.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        work: Callable[[psycopg.Connection[DictRow]], None],
        seconds: float,
    ) -> None:
        self._settings = settings
        self._name = name
        self._work = work
        self._seconds = seconds
        self._is_over = Event()
        self._is_failing = False
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first time is at once."""
        self._thread.start()

    def stop(self) -> None:
        """Run ``work`` a last time if PostgreSQL answers, and end."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                with postgres.connect(
                    self._settings, options="-c statement_timeout=5000 -c lock_timeout=2000"
                ) as connection:
                    self._repeat(connection)
            except Exception as error:  # the thread must outlive all of them
                if not self._is_failing:
                    is_away = isinstance(error, psycopg.Error)
                    log.warning("%s failed: %s", self._name, error, exc_info=not is_away)
                self._is_failing = True
                self._is_over.wait(self._seconds)

    def _repeat(self, connection: psycopg.Connection[DictRow]) -> None:
        while True:
            is_last = self._is_over.is_set()
            self._work(connection)
            if self._is_failing:
                log.warning("%s works again", self._name)
                self._is_failing = False
            if is_last:
                return
            self._is_over.wait(self._seconds)
