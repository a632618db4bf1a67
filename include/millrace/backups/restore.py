"""Restoring the warehouse from a chain of backups, and checking what came back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from clickhouse_connect.driver.client import Client

from millrace.backups import catalogue, erasure, gateway, receipts
from millrace.backups.catalogue import Entry, Table
from millrace.backups.erasure import Order
from millrace.backups.fence import standing_still
from millrace.backups.gateway import WAREHOUSE, BackupError
from millrace.backups.warehouse import COLLECTION, measure, place, run
from millrace.contract import locks
from millrace.settings import Settings
from millrace.stores import clickhouse, dictionaries, sql
from millrace.stores.quoting import identifier

log = logging.getLogger(__name__)

STAGING = "restore_staging"


@dataclass(frozen=True)
class Restored:
    """What was restored; ``seconds`` are wall-clock times."""

    backup_id: str
    tables: int
    rows: int
    restore_seconds: float
    check_seconds: float


def plan(settings: Settings, entry: Entry) -> list[str]:
    """Return, in sentences, what a restore would do; changes nothing.

    Raises ``BackupError`` when an object of the chain is missing.
    """
    objects = gateway.ensure_folders(settings)
    catalogue.check_objects(objects, entry)
    links = catalogue.chain(objects, entry)
    lines = [
        f"restore {entry.backup_id}, the state of {entry.cut_at}",
        f"from {len(links)} backups: " + ", ".join(link.backup_id for link in reversed(links)),
        f"{len(entry.tables)} tables with {entry.rows:,} rows into {settings.clickhouse_url}",
    ]
    lines += [
        f"  {table.database}.{table.name}: {table.rows:,} rows"
        for table in entry.tables
        if table.rows
    ]
    if left_out := entry.details.get("left_out"):
        lines.append(
            f"WARNING: rows of {', '.join(left_out)} are in no backup; a restore makes such tables "
            "empty. Fill them again, or keep them as MergeTree"
        )
    if half := entry.details.get("half_published"):
        lines.append(
            f"micro-batches {', '.join(map(str, half))} stood half published at the cut: rollups "
            "are made of what events has of them, and the rest is loaded again"
        )
    lines += [
        f"ingest then goes on at {p['topic']}[{p['partition']}] offset {p['next_offset']:,}"
        for p in entry.positions
    ]
    with clickhouse.connect(settings, database="default") as client:
        held = occupied(client, entry)
    if held:
        lines.append(f"WARNING: the target holds rows in {', '.join(held)}; needs --replace")
    return lines


def occupied(client: Client, entry: Entry) -> list[str]:
    """Return the tables of the target that already hold rows, migrations aside."""
    rows = client.query(
        sql.render("clickhouse/backups/occupied.sql"), parameters={"databases": entry.databases}
    ).result_rows
    return [row[0] for row in rows]


def restore(
    settings: Settings,
    entry: Entry,
    *,
    is_replace: bool = False,
    prove: Callable[[], None] = lambda: None,
) -> Restored:
    """Restore a backup into ``settings.clickhouse_url`` and check every value of it.

    Ingest stands still meanwhile, by itself, and then goes on from the ledger in PostgreSQL. The
    tables are restored beside their places, where rows and hashes are compared with the catalogue
    while merges stand still; only then are the target's databases dropped and the tables moved
    there, so that a bad backup costs nothing. People who were erased since the cut, as the receipts
    beside the backups tell by then, are erased before that; ``prove`` is called afterwards, while
    ingest still stands. A deployment, an erasure or the swap of a rebuild that is under way ends
    first: it would go on with what it has read before. Raises ``BackupError`` naming a table that
    differs, or when the target holds rows, unless ``is_replace``.
    """
    objects = gateway.ensure_folders(settings)
    catalogue.check_objects(objects, entry)
    with (
        clickhouse.connect(settings, database="default") as client,
        catalogue.alone(settings) as connection,
        locks.alone(connection, locks.DEPLOYMENT),
        standing_still(settings, connection) as fence,
    ):
        held = occupied(client, entry)
        if held and not is_replace:
            raise BackupError(
                f"the target holds rows in {', '.join(held)}; give an empty server, or --replace "
                "to drop what is there"
            )
        clickhouse.named_collection(
            settings, COLLECTION, settings.backup_endpoint, bucket=WAREHOUSE
        )
        began = time.monotonic()
        try:
            _read(client, entry)
            restored = time.monotonic()
            check(client, entry)
            orders = receipts.read(objects)
            if since := receipts.since(orders, datetime.fromisoformat(entry.cut_at)):
                _erase(settings, client, entry, since)
            fence.make_lasting()
            _put_in_place(client, entry)
            # It reads PostgreSQL through a named collection, which an empty server does not have.
            name = clickhouse.database(settings)
            client.command(f"DROP DICTIONARY IF EXISTS {name}.user_profiles")
            dictionaries.ensure(settings)
            prove()
        finally:
            client.command("SYSTEM START MERGES")
            client.command(f"DROP DATABASE IF EXISTS {STAGING} SYNC")
    ended = time.monotonic()
    return Restored(
        entry.backup_id, len(entry.tables), entry.rows, restored - began, ended - restored
    )


def _read(client: Client, entry: Entry) -> None:
    """Restore every table beside its place, where nobody writes to it meanwhile."""
    client.command(f"DROP DATABASE IF EXISTS {STAGING} SYNC")
    client.command(f"CREATE DATABASE {STAGING}")
    for table in entry.tables:
        name = f"{table.database}.{table.name}"
        source = place(entry.backup_id, name)
        origin = identifier(table.database, table.name)
        restoring = f"RESTORE TABLE {origin} AS {_beside(table)} FROM {source}"
        run(client, f"{restoring} SETTINGS structure_only = 1")
        # a merge would sum or replace rows before they were compared
        client.command(f"SYSTEM STOP MERGES {_beside(table)}")
        run(client, restoring)
        log.info("restored %s: %d rows", name, table.rows)


def _erase(settings: Settings, client: Client, entry: Entry, orders: Sequence[Order]) -> None:
    """Take the people out of the tables while nobody can read these."""
    for table in entry.tables:
        client.command(f"SYSTEM START MERGES {_beside(table)}")  # a mutation waits for it
    erasure.carry_out_beside(settings, client, orders, STAGING)
    log.info("erased %d people once more", len(orders))


def _put_in_place(client: Client, entry: Entry) -> None:
    """Drop what the target holds, move the tables there, and recreate views and dictionaries."""
    for database in entry.databases:
        client.command(f"DROP DATABASE IF EXISTS {database} SYNC")
        client.command(f"CREATE DATABASE {database}")
    for table in entry.tables:
        client.command(f"RENAME TABLE {_beside(table)} TO {identifier(table.database, table.name)}")
    names = ", ".join(f"DATABASE {database}" for database in entry.databases)
    run(client, f"RESTORE {names} FROM {place(entry.backup_id, 'structure')}")


def _beside(table: Table) -> str:
    return identifier(STAGING, f"{table.database}.{table.name}")


def check(client: Client, entry: Entry) -> None:
    """Read every column of every restored table and compare rows and hash with the catalogue.

    Raises ``BackupError`` naming every table that differs.
    """
    wrong = []
    for table in entry.tables:
        rows, content_hash = measure(client, _beside(table))
        if (rows, str(content_hash)) != (table.rows, table.content_hash):
            wrong.append(
                f"{table.database}.{table.name} has {rows:,} rows (hash {content_hash}), the "
                f"catalogue {table.rows:,} (hash {table.content_hash})"
            )
    if wrong:
        raise BackupError(f"{entry.backup_id} came back wrong: " + "; ".join(wrong))
