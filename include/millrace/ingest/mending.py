"""Repeats whose tokens say nothing: rollups are made good from ``events``, then the rest is loaded.

A deduplication token that reaches a view's target carries the view's identity. A repeat under
another identity than the first attempt's would be counted twice, or not at all where the target was
replaced meanwhile. So the days that the micro-batch touches are computed again from what ``events``
holds, and what is missing there is written under a new generation, as something new.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date

from millrace.contract import publication
from millrace.ingest.ledger import Ledger
from millrace.ingest.model import Batch
from millrace.ingest.rebuild.rollups import Rollups, replace_partition
from millrace.ingest.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import clickhouse

log = logging.getLogger(__name__)


def trust_or_mend(ledger: Ledger, warehouse: Warehouse, batch: Batch) -> Batch:
    """Decide how a repeat avoids doubles: by its old tokens, or by leaving out what is there.

    The old tokens serve while the tables know them and the views are those of the first attempt;
    they also complete rollups of an insert that was cut between a table and its views. Otherwise
    the rollups are mended, and the micro-batch returned has a new generation.
    """
    warehouse.find_present(batch)
    newest = warehouse.newest_generation(batch)
    if newest and newest >= batch.generation:
        # The ledger may have been set back: then it does not know what these tokens let in.
        return mend(ledger, warehouse, batch, f"it was written under generation {newest} before")
    if batch.views == "":  # nothing of this generation was published
        if batch.generation:
            warehouse.note_generation(batch)
        return batch
    if batch.generation == 0 and warehouse.remembers(batch):
        return batch  # whether the views are the same is asked under the lock
    return mend(ledger, warehouse, batch, "its tokens may be forgotten")


def mend(ledger: Ledger, warehouse: Warehouse, batch: Batch, reason: str) -> Batch:
    """Make rollups agree with ``events`` where a micro-batch may be half published.

    Returns the micro-batch under a new generation; what of it is where has to be found anew. A
    rollup that can't be made by the day becomes the incident ``rollups_unproven``.
    Raises ``ClickHouseError`` when ClickHouse is down.
    """
    days, expiring = warehouse.staged_days(batch)
    log.warning(
        "micro-batch %d: %s; making the rollups of %d days good from %s",
        batch.batch_id,
        reason,
        len(days),
        ledger.source.target_table,
    )
    with publication.alone(ledger.connection):
        warehouse.await_statements(batch)
        unfit = make_good(ledger.settings, ledger.source.target_table, str(batch.batch_id), days)
        newest = max(batch.generation, warehouse.newest_generation(batch))
        mended = ledger.retry(batch, generation=newest + 1)
        warehouse.note_generation(mended)
    unproven = [(rollup, days, why) for rollup, why in sorted(unfit.items())]
    if expiring:
        unproven.append(("a rollup", expiring, "rollups keep these days longer than their events"))
    for rollup, of_days, why in unproven:
        for span in batch.ranges:
            ledger.incident(
                "rollups_unproven",
                span,
                batch.incarnation,
                f"micro-batch {batch.batch_id} was cut off, and {reason}; {rollup} may lack its "
                f"events of {', '.join(map(str, of_days))} or count them twice: {why}",
            )
    return mended


def make_good(settings: Settings, target: str, label: str, days: Sequence[date]) -> dict[str, str]:
    """Compute days of every rollup again from a table of events, and swap them in.

    The caller holds the publication lock alone; ``label`` tells its tables from another's. Returns
    the rollups that could not be, with why.
    """
    suffix = f"__mend_{label}"
    with clickhouse.connect(settings, "loader") as client:
        rollups = Rollups(client, clickhouse.database(settings), suffix, is_lenient=True)
        copy = f"{target}{suffix}"
        try:
            rollups.drop()
            client.command(f"DROP TABLE IF EXISTS {copy} SYNC")
            client.command(f"CREATE TABLE {copy} AS {target}")
            for day in days:
                client.command(f"ALTER TABLE {copy} ATTACH PARTITION '{day}' FROM {target}")
            rollups.fill(target, copy)
            for rollup, shadow in rollups.shadows.items():
                for day in days:
                    replace_partition(client, rollup, shadow, day)
        finally:
            rollups.drop()
            client.command(f"DROP TABLE IF EXISTS {copy} SYNC")
    return rollups.unfit
