"""From a claimed micro-batch to a completed one: stage, keep, judge, publish, prove, complete."""

from __future__ import annotations

import logging
import time

import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.contract import erasures, publication
from millrace.contract.erasures import ErasedMeanwhileError, Orders
from millrace.ingest import enrichment, mending, register, withdrawal
from millrace.ingest.lease import Lease
from millrace.ingest.ledger import Ledger
from millrace.ingest.model import Batch, Counts, RepeatIncompleteError
from millrace.ingest.progress import Progress
from millrace.ingest.warehouse import Warehouse

log = logging.getLogger(__name__)


class Loader:
    """Loads the micro-batches that one owner has claimed of one source, while its lease lasts.

    ``views`` is the identity of the materialized views that were met last; the next claim notes it.
    """

    def __init__(self, ledger: Ledger, lease: Lease, progress: Progress) -> None:
        self.views = ""
        self._ledger = ledger
        self._lease = lease
        self._progress = progress
        self._warehouse: Warehouse | None = None
        self._register_instance = 0
        self._orders = Orders()
        self._batch: Batch | None = None  # as the ledger has it

    @property
    def warehouse(self) -> Warehouse:
        """The ClickHouse session; raises ``LookupError`` before ``use_incarnation``."""
        if self._warehouse is None:
            raise LookupError("no incarnation of the topic was chosen yet")
        return self._warehouse

    def connect(self, incarnation: int) -> None:
        """Open a session whose rows are of this incarnation of the topic."""
        if self._warehouse is not None and self._warehouse.incarnation != incarnation:
            self._warehouse.close()
            self._warehouse = None
        if self._warehouse is None:
            self._warehouse = Warehouse(self._ledger.settings, self._ledger.source, incarnation)
        self._warehouse.client()

    def use_incarnation(self, incarnation: int) -> None:
        """Have a session of this incarnation, and know whether profiles can be looked up."""
        self.connect(incarnation)
        self.warehouse.is_enriching = enrichment.is_ready(self.warehouse.client())

    def close(self) -> None:
        """Let go of the session; the next use opens one of its own."""
        if self._warehouse is not None:
            self._warehouse.close()

    def ensure_register(self) -> None:
        """Fill the register of event ids if it was lost, unless it is known to be whole."""
        if not self._register_instance:
            self._register_instance = register.ensure(self._ledger.settings, self._ledger)

    def forget_register(self) -> None:
        """Have ``ensure_register`` look again: the register was lost."""
        self._register_instance = 0

    def load(self, batch: Batch, messages: pa.Table) -> Counts:
        """Take a claimed micro-batch through every step to its completion.

        What people sent who are to be erased is left out. Raises ``RepeatIncompleteError`` when it
        is a repeat, and rows are missing afterwards.
        """
        try:
            return self._load(batch, messages)
        except ErasedMeanwhileError as reason:
            log.info("micro-batch %d is judged again: %s", batch.batch_id, reason)
            return self._load(self._ledger.retry(self._batch or batch), messages)

    def _load(self, batch: Batch, messages: pa.Table) -> Counts:
        started = time.monotonic()
        self._batch = batch
        warehouse = self.warehouse
        if messages.num_rows:
            gate = self._ledger.gate(batch.gate_id)
            warehouse.stage(batch, gate, messages)
            self._orders = erasures.read(self._ledger.connection, self._orders)
            messages = warehouse.without_erased(batch, gate, messages, self._orders)
        counts = Counts(0, 0, 0)
        if messages.num_rows == 0:
            self._ledger.complete(batch, counts, 0)
            return counts
        is_repeat = batch.attempts > 1 or batch.generation > 0
        if is_repeat:
            self._batch = batch = mending.trust_or_mend(self._ledger, warehouse, batch)
            self._hold(batch, gate, messages)
        # Not under the lock: a worker that is frozen in here must not keep others from planning.
        erasures.demand_same(self._ledger.connection, self._orders)
        warehouse.keep(batch, self._lease.until, is_rewrite=batch.generation > 0)
        while not (published := self._publish(batch, gate, messages, is_repeat)):
            if is_repeat and batch.views != "":
                self._batch = batch = mending.mend(
                    self._ledger, warehouse, batch, "the views are not those of its first attempt"
                )
                self._hold(batch, gate, messages)
            else:  # nothing of it is published
                self._batch = batch = self._ledger.note_views(batch, self.views)
        self._progress.loaded(published, _bytes(messages), messages, time.monotonic() - started)
        return published

    def _hold(self, batch: Batch, gate: str, messages: pa.Table) -> None:
        """Have the session hold a micro-batch, and know where its messages are by now.

        Who waits for the publication lock may wait for longer than a session lives.
        """
        if not self.warehouse.holds(batch):
            log.info("micro-batch %d is staged again: its session has ended", batch.batch_id)
            self.warehouse.stage(batch, gate, messages)
        self.warehouse.find_present(batch)

    def repeat(self, batch: Batch, messages: pa.Table) -> None:
        """Load a micro-batch once more, under new tokens where the old ones keep rows out."""
        try:
            self.load(batch, messages)
        except RepeatIncompleteError as missing:
            log.warning("%s; writing it under new tokens", missing)
            batch = self._batch or batch
            self.load(self._ledger.retry(batch, generation=batch.generation + 1), messages)

    def _publish(
        self, batch: Batch, gate: str, messages: pa.Table, is_repeat: bool
    ) -> Counts | None:
        """Judge, publish and complete a micro-batch; do nothing if other views than noted are met.

        They can't change while the publication lock is held.
        """
        warehouse, message_count = self.warehouse, messages.num_rows
        try:
            with publication.shared(self._ledger.connection):
                erasures.demand_same(self._ledger.connection, self._orders)
                if not warehouse.holds(batch):
                    self._hold(batch, gate, messages)
                refused, self.views = warehouse.judge(
                    batch, message_count, self._register_instance, is_repeat=is_repeat
                )
                if self.views != batch.views:
                    warehouse.forget_verdicts()
                    return None
                counts = warehouse.publish(
                    batch,
                    message_count,
                    refused,
                    self._lease.until,
                    is_repeat=is_repeat,
                    is_rewrite=batch.generation > 0,
                )
                if is_repeat:
                    counts = self._prove(batch, counts)
                self._ledger.complete(batch, counts, _bytes(messages))
        except ClickHouseError as error:
            withdrawal.withdraw_if_at_fault(self._ledger, batch, error)
            raise
        return counts

    def _prove(self, batch: Batch, counts: Counts) -> Counts:
        """After a repeat, see that everything is where it should be.

        Returns the counts, less what has expired since. Raises ``RepeatIncompleteError`` when rows
        are missing: a swap of partitions took those that tokens should have let in. What is missing
        after many attempts is the incident ``data_loss``.
        """
        present = self.warehouse.find_present(batch)
        if present["event"] >= counts.events and present["rejected"] >= counts.rejected:
            return counts
        expired, has_rejected_expired = self.warehouse.find_expired(batch)
        is_whole = present["event"] + expired >= counts.events and (
            present["rejected"] >= counts.rejected or has_rejected_expired
        )
        found = f"{present} of {counts.events} events and {counts.rejected} rejected"
        if is_whole:
            log.warning("micro-batch %d: %s, %d have expired", batch.batch_id, found, expired)
        elif batch.may_wait:
            raise RepeatIncompleteError(f"micro-batch {batch.batch_id}: found only {found}")
        else:
            for span in batch.ranges:
                self._ledger.incident(
                    "data_loss",
                    span,
                    batch.incarnation,
                    f"micro-batch {batch.batch_id} can't be loaded whole, it has {found}",
                )
            log.error("DATA LOSS: micro-batch %d has %s", batch.batch_id, found)
        return Counts(counts.messages, present["event"], present["rejected"])


def _bytes(messages: pa.Table) -> int:
    return int(messages["value"].nbytes)
