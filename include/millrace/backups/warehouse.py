"""Backing up ClickHouse: one consistent cut, then table by table with ClickHouse's own BACKUP."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from minio import Minio
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace import waiting
from millrace.backups import catalogue, gateway, metrics, receipts
from millrace.backups.catalogue import Entry, Table
from millrace.backups.gateway import LOOK_AT_BUCKET, WAREHOUSE, BackupError
from millrace.contract import ledger, publication
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, quoting, sql
from millrace.stores import objects as store
from millrace.stores.quoting import identifier

log = logging.getLogger(__name__)

STAGING = "backup_staging"
SETTLE_SECONDS = 60.0
"""How long a cut waits for micro-batches that stand half published."""
FULL_EVERY = timedelta(days=1)
COLLECTION = "millrace_backups"
PLAIN = "decrypt_files_from_encrypted_disks = 1"
"""The files of an encrypted disk would be of no use under another key; the gateway encrypts."""

POSITION = (
    "source_id", "topic", "topic_id", "topic_incarnation", "partition", "judged_offset",
    "claimed_offset",
)  # fmt: skip
"""What a backup keeps of how far a partition was judged."""

S3_SETTINGS = {
    "s3_max_single_part_upload_size": 1 << 50,  # see gateway: never in parts
    # ClickHouse would try for hours; a full or broken bucket must be reported while it matters.
    "s3_retry_attempts": 5,
    "backup_restore_s3_retry_attempts": 5,
}


class _UnsettledError(Exception):
    """A micro-batch stands half published, and does not end."""


def back_up(settings: Settings, requested_by: str, *, is_full: bool | None = None) -> Entry:
    """Back up the warehouse and return the catalogue's entry.

    Full if no full backup is younger than a day (or ``is_full`` says so), else incremental on the
    last successful one, after a look that its objects are all there. A backup that an earlier
    process left unfinished is finished instead, from the same cut. Raises ``BackupError`` when
    another backup runs or ClickHouse reports a failure; then nothing in the catalogue changes.
    """
    store.ensure_buckets(settings)
    objects = gateway.ensure_folders(settings)
    with catalogue.alone(settings) as connection, _client(settings) as client:
        catalogue.follow(connection, objects)
        backup_id = _resume(connection, client)
        if backup_id is None:
            backup_id = _begin(connection, client, objects, settings, requested_by, is_full)
        try:
            entry = _write(settings, connection, client, objects, backup_id)
        except Exception as error:
            _fail(connection, client, backup_id, str(error))
            raise
        receipts.keep_all(settings)
        gateway.copy_to_second_bucket(settings)
    metrics.succeeded(settings, "warehouse")
    return entry


def _client(settings: Settings) -> Client:
    clickhouse.named_collection(settings, COLLECTION, settings.backup_endpoint, bucket=WAREHOUSE)
    return clickhouse.connect(settings, "backup", database="default")


def _resume(connection: psycopg.Connection[DictRow], client: Client) -> str | None:
    """Return the unfinished backup whose cut is still there; give up on those whose cut is not."""
    row = connection.execute(sql.render("postgres/backups/running_backup.sql")).fetchone()
    has_cut = client.command(f"EXISTS DATABASE {STAGING}") == 1
    if row and row["cut_at"] and has_cut:
        log.warning("going on with %s, which was interrupted", row["backup_id"])
        return str(row["backup_id"])
    if row:
        _fail(connection, client, row["backup_id"], "interrupted before its cut was complete")
    return None


def _fail(
    connection: psycopg.Connection[DictRow], client: Client, backup_id: str, reason: str
) -> None:
    connection.execute(
        sql.render("postgres/backups/fail_backup.sql"),
        [reason[:4000], backup_id],
    )
    client.command(f"DROP DATABASE IF EXISTS {STAGING} SYNC")


def _begin(
    connection: psycopg.Connection[DictRow],
    client: Client,
    objects: Minio,
    settings: Settings,
    requested_by: str,
    is_full: bool | None,
) -> str:
    """Choose the kind and the base, make the cut, and return the new backup's id."""
    base = None if is_full else _base(connection, objects)
    kind = "incremental" if base else "full"
    backup_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"[:-3] + f"-{kind}"
    connection.execute(
        "INSERT INTO backups (backup_id, kind, base_id, requested_by) VALUES (%s, %s, %s, %s)",
        [backup_id, kind, base, requested_by],
    )
    try:
        _cut(settings, connection, client, backup_id)
    except Exception as error:
        _fail(connection, client, backup_id, str(error))
        raise
    return backup_id


def _base(connection: psycopg.Connection[DictRow], objects: Minio) -> str | None:
    """Return the last successful backup if its chain is young enough and whole."""
    rows = connection.execute(sql.render("postgres/backups/last_chain.sql")).fetchall()
    if not rows or rows[-1]["started_at"] < datetime.now(UTC) - FULL_EVERY:
        return None
    newest = str(rows[0]["backup_id"])
    catalogue.check_objects(objects, catalogue.get(objects, newest))
    return newest


def _cut(
    settings: Settings, connection: psycopg.Connection[DictRow], client: Client, backup_id: str
) -> None:
    """Clone every table (hard links, no copies, where it can be) while nothing is published.

    The exclusive publication lock is held only for the cloning: no micro-batch is then between two
    of its tables. What the ledger says at that moment is where ingest goes on after a restore. One
    that stands half published is waited for; where ingest is down and doesn't end it, a backup is
    better than none, and its details say which they are.
    """
    client.command(f"DROP DATABASE IF EXISTS {STAGING} SYNC")
    on_cluster = quoting.on_cluster(settings.clickhouse_cluster)
    client.command(f"CREATE DATABASE {STAGING} {on_cluster}")
    with (
        postgres.connect(settings, options="-c lock_timeout=2min") as lock,
        _standing_still(settings, lock, client) as half_published,
    ):
        began = time.monotonic()
        # Not before: whoever had the lock until now may have made tables, or replaced them.
        databases = _databases(settings, client)
        tables = client.query(
            sql.render("clickhouse/backups/tables.sql", existed_at=False),
            parameters={"databases": databases},
        ).result_rows
        left_out = client.query(
            sql.render("clickhouse/backups/left_out.sql"), parameters={"databases": databases}
        ).result_rows
        for database, name, is_cloned in tables:
            origin, clone = identifier(database, name), _clone(database, name)
            way = "CLONE AS" if is_cloned else "AS"
            client.command(f"CREATE TABLE {clone} {on_cluster} {way} {origin}")
            if not is_cloned:  # an engine without parts to link to, as of a small list
                client.command(f"INSERT INTO {clone} SELECT * FROM {origin}")  # noqa: S608
        positions = [
            {**{name: row[name] for name in POSITION}, "next_offset": row["judged_offset"]}
            for row in ledger.judged_positions(lock)
        ]
        cut_at = datetime.now(UTC)
        held = time.monotonic() - began
    for database, name, is_cloned in tables:
        if is_cloned:
            client.command(f"SYSTEM STOP MERGES {_clone(database, name)}")
    versions = {
        "half_published": half_published,
        "left_out": [row[0] for row in left_out],
        "databases": databases,
        "millrace": version("millrace"),
        "clickhouse": client.server_version,
        "clickhouse_migrations": _migrations(settings, client),
        "alembic": [r["version_num"] for r in connection.execute("TABLE alembic_version")],
    }
    connection.execute(
        sql.render("postgres/backups/note_cut.sql"),
        [cut_at, held, Jsonb(positions), Jsonb(versions), backup_id],
    )


@contextmanager
def _standing_still(
    settings: Settings, lock: psycopg.Connection[DictRow], client: Client
) -> Iterator[list[int]]:
    """Have nobody publish meanwhile; give the micro-batches that stand half published even so."""
    events = f"{clickhouse.database(settings)}.events"
    with ExitStack() as held:
        try:
            held.enter_context(
                publication.settled(
                    lock, client, events, error=_UnsettledError, seconds=SETTLE_SECONDS
                )
            )
            half: list[int] = []
        except _UnsettledError as error:
            log.warning("the cut is made all the same: %s", error)
            held.enter_context(publication.alone(lock))
            half = publication.half_published(lock, client, events)
        yield half


def _databases(settings: Settings, client: Client) -> list[str]:
    """Return the databases that Millrace owns: its own and what dbt builds."""
    mine = clickhouse.database(settings)
    known = {row[0] for row in client.query("SHOW DATABASES").result_rows}
    return sorted(known & {mine, "analytics"})


def _migrations(settings: Settings, client: Client) -> list[str]:
    query = sql.render("clickhouse/backups/migrations.sql", database=clickhouse.database(settings))
    return [row[0] for row in client.query(query).result_rows]


def _write(
    settings: Settings,
    connection: psycopg.Connection[DictRow],
    client: Client,
    objects: Minio,
    backup_id: str,
) -> Entry:
    row = postgres.one(
        connection.execute("SELECT * FROM backups WHERE backup_id = %s", [backup_id])
    )
    databases = row["details"]["databases"]
    base = catalogue.get(objects, row["base_id"]) if row["base_id"] else None
    based = {(table.database, table.name) for table in base.tables} if base else set()
    done = {
        (r["database_name"], r["table_name"])
        for r in connection.execute("SELECT * FROM backup_tables WHERE backup_id = %s", [backup_id])
    }
    _drop_partial(objects, backup_id, done)
    names = ", ".join(f"DATABASE {database}" for database in databases)
    run(
        client,
        f"BACKUP {names} TO {place(backup_id, 'structure')} SETTINGS structure_only = 1, {PLAIN}",
    )
    clones = client.query(
        sql.render("clickhouse/backups/clones.sql"), parameters={"staging": STAGING}
    ).result_rows
    for clone, is_cloned in clones:
        database, _, name = clone.partition(".")
        if (database, name) in done:
            continue
        if is_cloned:  # a server that was started since the cut merges again
            client.command(f"SYSTEM STOP MERGES {identifier(STAGING, clone)}")
        rows, content_hash = measure(client, identifier(STAGING, clone))
        base_id = base.backup_id if base and (database, name) in based else None
        options = f", base_backup = {place(base_id, clone)}" if base_id else ""
        size = run(
            client,
            f"BACKUP TABLE {identifier(STAGING, clone)} AS {identifier(database, name)} "
            f"TO {place(backup_id, clone)} SETTINGS {PLAIN}{options}",
        )
        connection.execute(
            "INSERT INTO backup_tables VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [backup_id, database, name, rows, content_hash, size, base_id],
        )
    client.command(f"DROP DATABASE {STAGING} SYNC")
    return _complete(connection, objects, backup_id, row)


def _drop_partial(objects: Minio, backup_id: str, done: set[tuple[str, str]]) -> None:
    """Delete what an interrupted process left of tables that it did not finish."""
    finished = {f"{backup_id}/{database}.{name}" for database, name in done}
    for item in objects.list_objects(WAREHOUSE, f"{backup_id}/", recursive=True):
        if "/".join(item.object_name.split("/")[:2]) not in finished:
            objects.remove_object(WAREHOUSE, item.object_name)


def _complete(
    connection: psycopg.Connection[DictRow], objects: Minio, backup_id: str, row: dict[str, Any]
) -> Entry:
    tables = [
        Table(
            r["database_name"], r["table_name"], r["row_count"], str(r["content_hash"]),
            r["byte_count"], r["base_id"],
        )
        for r in connection.execute(
            sql.render("postgres/backups/backup_tables.sql"),
            [backup_id],
        )
    ]  # fmt: skip
    count, size = catalogue.measure(objects, f"{backup_id}/")
    entry = Entry(
        backup_id=backup_id,
        kind=row["kind"],
        base_id=row["base_id"],
        cut_at=row["cut_at"].astimezone(UTC).isoformat(),
        lock_seconds=row["lock_seconds"],
        ended_at=datetime.now(UTC).isoformat(),
        byte_count=size,
        object_count=count,
        tables=tables,
        positions=row["positions"],
        details=row["details"],
    )
    catalogue.put(objects, entry)
    connection.execute(
        sql.render("postgres/backups/complete_backup.sql"),
        [size, count, backup_id],
    )
    return entry


def _clone(database: str, name: str) -> str:
    """Return where the clone of a table is."""
    return identifier(STAGING, f"{database}.{name}")


def place(backup_id: str | None, name: str) -> str:
    """Return where a part of a backup is, as BACKUP and RESTORE name it."""
    return f"S3({COLLECTION}, '{backup_id}/{name}')"


def measure(client: Client, table: str) -> tuple[int, int]:
    """Return a table's rows and the hash of every value in it; reads all columns."""
    row = client.query(sql.render("clickhouse/backups/measure.sql", table=table)).result_rows[0]
    return int(row[0]), int(row[1])


def run(client: Client, statement: str) -> int:
    """Run a BACKUP or RESTORE and return its size in bytes.

    It runs in the background of the server, so that no HTTP time-out cuts a long one. Raises
    ``BackupError`` with ClickHouse's reason.
    """
    identifier = client.query(f"{statement} ASYNC", settings=S3_SETTINGS).result_rows[0][0]

    def ended() -> tuple[str, str, int] | None:
        found = client.query(
            sql.render("clickhouse/backups/state.sql"), parameters={"id": identifier}
        ).result_rows
        if not found:
            raise BackupError(f"ClickHouse restarted during {statement[:60]}…; run it again")
        status, error, size = found[0]
        return None if status in ("CREATING_BACKUP", "RESTORING") else (status, error, size)

    # However long it takes: a server that is gone ends the wait.
    status, error, size = waiting.until(ended, "ClickHouse", seconds=math.inf, every=0.02, up_to=1)
    if status not in ("BACKUP_CREATED", "RESTORED"):
        hint = f". {LOOK_AT_BUCKET}" if "S3" in error else ""
        raise BackupError(f"{status.lower().replace('_', ' ')}: {error}{hint}")
    return size
