"""The lease on a worker's partitions, prolonged from a thread while the worker works or waits."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

import psycopg

from millrace.contract.sources import Source
from millrace.ingest.ledger import Ledger
from millrace.ingest.model import LeaseLostError
from millrace.settings import Settings
from millrace.stores.errors import first_line

log = logging.getLogger(__name__)


class Lease:
    """Keeps a lease alive; ``until`` is its end by the database's clock.

    Statements of a loader carry ``until`` and the warehouse refuses them afterwards, so that a
    worker that was paused and wakes beside its successor writes nothing.
    """

    def __init__(self, settings: Settings, source: Source, owner: str, held: int) -> None:
        self.until = datetime.fromtimestamp(0, UTC)
        self.is_wanted = False  # by a later plan's worker
        self.is_deserted = False  # by another worker of the same plan
        self._seconds = settings.ingest_lease_seconds
        self._held = held
        self._ledger = Ledger(settings, source, owner)
        self._lost: LeaseLostError | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def start(self, until: datetime) -> None:
        """Prolong the lease that ends at ``until`` from now on."""
        self.until = until
        self._thread.start()

    def check(self) -> None:
        """Raise ``LeaseLostError`` if another worker took the partitions."""
        if self._lost is not None:
            raise self._lost

    def wait(self, seconds: float) -> None:
        """Wait, unless the lease ends before; raises ``LeaseLostError``."""
        self._stopped.wait(max(0.0, seconds))
        self.check()

    def stop(self) -> None:
        """Prolong no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=15)

    def _keep(self) -> None:
        # A tenth of the lease, so that neither a lost connection nor a slow server endangers it.
        while not self._stopped.wait(min(2.0, self._seconds / 10)):
            try:
                self.until, self.is_wanted, self.is_deserted = self._ledger.renew(self._held)
            except LeaseLostError as lost:
                self._lost = lost
                self._stopped.set()
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                log.warning("could not prolong the lease: %s", first_line(error))
                self._ledger.close()
        self._ledger.close()
