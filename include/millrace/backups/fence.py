"""The fence of a restore: it owns every partition of ingest, so that nobody loads meanwhile."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import DictRow

from millrace.backups.gateway import BackupError
from millrace.contract import publication
from millrace.settings import Settings
from millrace.stores import postgres, sql
from millrace.stores.errors import first_line

log = logging.getLogger(__name__)

LASTING_SECONDS = 86_400.0
"""How long nobody loads into a warehouse that a killed restore left half replaced, unless the next
restore takes over."""


class Fence:
    """Every partition, owned as a worker owns its own: for a lease that a thread prolongs."""

    def __init__(self, settings: Settings, connection: psycopg.Connection[DictRow]) -> None:
        self._settings, self._connection = settings, connection
        self._owner = f"restore/{uuid.uuid4().hex[:8]}"
        self._lease = settings.ingest_lease_seconds
        self._held = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="fence", daemon=True)

    def put_up(self) -> None:
        """Take every partition, whoever has it."""
        self._held = self._run(self._connection, "fence", self._lease)
        self._thread.start()

    def make_lasting(self) -> None:
        """Own the partitions even if this process dies: what comes next must not be cut off.

        Raises ``BackupError`` when they were taken, because this process stood still for long.
        """
        self._stop()
        if self._run(self._connection, "prolong_fence", LASTING_SECONDS) != self._held:
            raise BackupError(
                "ingest went on, since this restore stood still for longer than a lease "
                f"({self._lease:.0f} s); nothing was replaced. Start it again"
            )

    def take_down(self) -> None:
        """Let go of the partitions; plans of before are outdated."""
        self._stop()
        with postgres.connect(self._settings) as connection:  # the other may be broken
            self._run(connection, "unfence", 0)

    def _stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _keep(self) -> None:
        pause = min(2.0, self._lease / 10)
        while not self._stopped.wait(pause):
            try:
                with postgres.connect(self._settings) as connection:
                    self._run(connection, "prolong_fence", self._lease)
                    while not self._stopped.wait(pause):
                        self._run(connection, "prolong_fence", self._lease)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                log.warning("could not prolong the lease: %s", first_line(error))

    def _run(self, connection: psycopg.Connection[DictRow], name: str, lease: float) -> int:
        bound = {"owner": self._owner, "lease": lease}
        return connection.execute(sql.render(f"postgres/backups/{name}.sql"), bound).rowcount


@contextmanager
def standing_still(settings: Settings, connection: psycopg.Connection[DictRow]) -> Iterator[Fence]:
    """Own every partition and the publication lock for the length of a ``with``.

    Of a process that is killed here PostgreSQL frees the lock, and the lease ends by itself; once
    the fence was made lasting, the next restore takes the partitions over.
    """
    fence = Fence(settings, connection)
    fence.put_up()
    try:
        with publication.alone(connection):
            yield fence
    finally:
        fence.take_down()
