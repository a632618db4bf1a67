"""A ledger or a warehouse that was restored from a backup learns from the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.integration.ingest_bed import Bed, messages

from millrace.ingest.warehouse import Warehouse
from millrace.settings import Settings


@pytest.fixture
def bed(settings: Settings) -> Iterator[Bed]:
    made = Bed(settings.model_copy(update={"ingest_tasks": 1, "ingest_lease_seconds": 2}))
    with made.rollup():
        yield made


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_ledger_restored_from_a_backup_learns_from_the_warehouse(bed: Bed, lost: int) -> None:
    for n in range(4):
        bed.send(messages(range(1 + 100 * n, 101 + 100 * n)))
        bed.load()
    restore_ledger(bed, lost)

    bed.send(messages(range(401, 421)))
    bed.load()

    bed.assert_conserved(messages=4 * 135 + 27, events=420)
    bed.assert_rolled_up(420)
    assert len(bed.incidents("warehouse_ahead")) >= 1


def test_a_restored_ledger_gives_no_number_to_two_micro_batches(bed: Bed) -> None:
    """Another source claims before the plan that learns what the warehouse remembers of this."""
    bed.send(messages(range(1, 101)))
    bed.load()
    bed.send(messages(range(101, 201)))
    bed.load()
    restore_ledger(bed, 1)
    other = Bed(bed.settings)
    other.send(messages(range(1, 101)))
    other.load()
    bed.ask("UPDATE data_sources SET is_active = true WHERE source_id = %s", bed.name)

    bed.load()

    bed.assert_conserved(messages=2 * 135, events=200)
    bed.assert_rolled_up(200)
    other.assert_conserved(messages=135, events=100)


def restore_ledger(bed: Bed, lost: int) -> None:
    """Take the ledger back by its last ``lost`` micro-batches, the counter of numbers included."""
    rows = bed.ask(
        "SELECT batch_id FROM ingest_batches WHERE source_id = %s ORDER BY batch_id DESC LIMIT %s",
        bed.name,
        lost,
    )
    oldest = rows[-1]["batch_id"]
    bed.ask(
        "UPDATE ingest_positions p SET next_offset = r.first_offset FROM (SELECT partition, "
        "min(first_offset) AS first_offset FROM ingest_ranges WHERE source_id = %s "
        "AND batch_id >= %s GROUP BY partition) r "
        "WHERE p.source_id = %s AND p.partition = r.partition",
        bed.name,
        oldest,
        bed.name,
    )
    bed.ask("DELETE FROM ingest_batches WHERE source_id = %s AND batch_id >= %s", bed.name, oldest)
    bed.ask("SELECT setval('ingest_batch_counter', %s & ((1 << 20) - 1), false)", oldest)


def test_a_ledger_restored_to_before_a_rewrite_lets_nothing_in_twice(bed: Bed) -> None:
    """Its backup has the micro-batch open, as it was first written; it was written again since."""
    bed.send(messages(range(1, 101)))
    (share,) = bed.kill_at(Warehouse, "keep", after=True)
    columns = "generation, attempts, views"
    (backup,) = bed.ask(
        f"SELECT batch_id, {columns} FROM ingest_batches WHERE source_id = %s", bed.name
    )
    rewritten = "UPDATE ingest_batches SET generation = 1 WHERE batch_id = %s"
    bed.ask(rewritten, backup["batch_id"])
    bed.drain(share, attempt=2)
    bed.assert_conserved(messages=135, events=100)

    bed.ask(
        "UPDATE ingest_batches SET state = 'claimed', loaded_at = NULL, message_count = NULL, "
        "event_count = NULL, rejected_count = NULL, byte_count = NULL, "
        f"({columns}) = (%s, %s, %s) WHERE batch_id = %s",
        backup["generation"],
        backup["attempts"],
        backup["views"],
        backup["batch_id"],
    )
    bed.send(messages(range(101, 121)))
    bed.load()

    bed.assert_conserved(messages=135 + 27, events=120)
    bed.assert_rolled_up(120)


@pytest.mark.parametrize("tables", [("raw_events", "events", "rejected_events"), ("events",)])
def test_a_warehouse_restored_from_a_backup_is_loaded_again(
    bed: Bed, tables: tuple[str, ...]
) -> None:
    for n in range(3):
        bed.send(messages(range(1 + 100 * n, 101 + 100 * n)))
        bed.load()
    ids = [
        r["batch_id"]
        for r in bed.ask(
            "SELECT batch_id FROM ingest_batches WHERE source_id = %s ORDER BY 1", bed.name
        )
    ]
    for table in tables:
        bed.delete(table, f"source_id = {{source}} AND batch_id > {ids[0]}")
    bed.query("TRUNCATE TABLE event_id_register")

    bed.send(messages(range(301, 321)))
    bed.load()

    bed.assert_conserved(messages=3 * 135 + 27, events=320)
    assert len(bed.incidents("warehouse_behind")) >= 1
