"""What was backed up: rows in PostgreSQL, and one object beside each complete backup."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from minio import Minio
from minio.error import MinioException
from psycopg.rows import DictRow

from millrace.backups.gateway import WAREHOUSE, BackupError
from millrace.contract import locks
from millrace.settings import Settings
from millrace.stores import postgres, sql

FOLDER = "catalogue"


class BusyError(BackupError):
    """Another backup, restore or expiry is running."""


@dataclass(frozen=True)
class Table:
    """A table as it was at the cut; ``content_hash`` is ``sum(cityHash64(*))`` modulo 2^64."""

    database: str
    name: str
    rows: int
    content_hash: str
    bytes: int
    base_id: str | None = None


@dataclass(frozen=True)
class Entry:
    """A complete backup of the warehouse; ``positions`` says where ingest goes on from."""

    backup_id: str
    kind: str
    base_id: str | None
    cut_at: str
    lock_seconds: float
    ended_at: str
    byte_count: int
    object_count: int
    tables: list[Table]
    positions: list[dict[str, Any]]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def databases(self) -> list[str]:
        """The databases that the backup holds."""
        return list(self.details["databases"])

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(table.rows for table in self.tables)


def put(client: Minio, entry: Entry) -> None:
    """Write the catalogue's object; from then on the backup can be restored."""
    data = json.dumps(asdict(entry), indent=2).encode()
    client.put_object(
        WAREHOUSE, f"{FOLDER}/{entry.backup_id}.json", io.BytesIO(data), len(data),
        content_type="application/json",
    )  # fmt: skip


def get(client: Minio, backup_id: str) -> Entry:
    """Read the catalogue's object; raises ``BackupError`` when there is none or it is damaged."""
    key = f"{FOLDER}/{backup_id}.json"
    try:
        fields = json.loads(client.get_object(WAREHOUSE, key).read())
        fields["tables"] = [Table(**table) for table in fields["tables"]]
        return Entry(**fields)
    except MinioException as error:
        raise BackupError(
            f"no complete backup is named {backup_id}; ./millrace backups list shows them"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise BackupError(
            f"the catalogue of {backup_id} is damaged ({error}): put {WAREHOUSE}/{key} back from "
            "the second bucket; or ./millrace restore --from ANOTHER, and --only warehouse"
        ) from error


def ids(client: Minio) -> list[str]:
    """Return the ids of the complete backups in the bucket, oldest first."""
    found = client.list_objects(WAREHOUSE, f"{FOLDER}/", recursive=True)
    names = (item.object_name.removeprefix(f"{FOLDER}/").removesuffix(".json") for item in found)
    return sorted(names)


def follow(connection: psycopg.Connection[DictRow], client: Minio) -> None:
    """Note as complete what is complete in the bucket, though PostgreSQL takes it for unfinished.

    So it does where a restore took it back to before the backup's end, or the process died between
    the two. The caller holds the lock of all backups.
    """
    query = sql.render("postgres/backups/unfinished.sql")
    unfinished = {str(row["backup_id"]) for row in connection.execute(query)}
    for backup_id in sorted(unfinished & set(ids(client))):
        entry = get(client, backup_id)
        connection.execute(
            sql.render("postgres/backups/complete_backup.sql"),
            [entry.byte_count, entry.object_count, backup_id],
        )


def choose(client: Minio, wanted: str = "", to: datetime | None = None) -> Entry:
    """Return the named backup, or the newest whose cut is not after ``to``.

    Raises ``BackupError`` when there is none.
    """
    if wanted:
        return get(client, wanted)
    for backup_id in reversed(ids(client)):
        entry = get(client, backup_id)
        if to is None or datetime.fromisoformat(entry.cut_at) <= to:
            return entry
    raise BackupError(
        f"no complete backup of the warehouse {f'from before {to} ' if to else ''}exists; "
        "./millrace backups list shows what there is, ./millrace backups run makes one"
    )


def chain(client: Minio, entry: Entry) -> list[Entry]:
    """Return a backup and those that it stands on, newest first.

    Raises ``BackupError`` naming the link that is missing.
    """
    links = [entry]
    while (base := links[-1].base_id) is not None:
        try:
            links.append(get(client, base))
        except BackupError as error:
            raise BackupError(
                f"{entry.backup_id} can't be restored: it stands on {base}, which is missing"
            ) from error
    return links


def check_objects(client: Minio, entry: Entry) -> None:
    """Compare number and size of a chain's objects with the catalogue.

    A cheap look that finds a lost or cut object without reading any; raises ``BackupError``.
    """
    for link in chain(client, entry):
        count, size = measure(client, f"{link.backup_id}/")
        if (count, size) != (link.object_count, link.byte_count):
            raise BackupError(
                f"{link.backup_id}: the bucket holds {count} objects of {size:,} bytes, the "
                f"catalogue says {link.object_count} of {link.byte_count:,}. Take a new full "
                "backup (./millrace backups run --full) and look at who deletes in the bucket"
            )


def measure(client: Minio, prefix: str) -> tuple[int, int]:
    """Return number and bytes of the warehouse backup's objects below a prefix."""
    sizes = [item.size for item in client.list_objects(WAREHOUSE, prefix, recursive=True)]
    return len(sizes), sum(sizes)


@contextmanager
def alone(settings: Settings) -> Iterator[psycopg.Connection[DictRow]]:
    """Hold the one lock of all backups and restores; a crash frees it.

    Raises ``BusyError`` when someone else has it.
    """
    busy = BusyError("another backup, restore or expiry is running; wait for it")
    with (
        postgres.connect(settings) as connection,
        locks.at_once(connection, locks.BACKUP, error=busy),
    ):
        yield connection
