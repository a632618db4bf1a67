"""Deleting old backups, never a link that another still stands on."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import psycopg
from minio import Minio
from psycopg.rows import DictRow

from millrace.backups import catalogue, gateway, metadata, segments
from millrace.backups.gateway import METADATA, WAREHOUSE, BackupError
from millrace.settings import Settings
from millrace.stores import sql

_ID = re.compile(r"(\d{8}T\d{6})\d{3}-(?:full|incremental|metadata)")
"""The name of a backup, which begins with the moment of its beginning."""


def expire(settings: Settings, now: datetime) -> list[str]:
    """Delete backups past ``backup_retention_days``; return their ids.

    A chain goes as a whole, when its youngest member is past retention, youngest first; the newest
    chain and the newest base backup always stay, and so does the log from the oldest base kept on.
    What lies in the bucket of backups that never were complete, or that a restore made PostgreSQL
    forget meanwhile, goes when it is as old.
    """
    before = now - timedelta(days=settings.backup_retention_days)
    objects = gateway.ensure_folders(settings)
    deleted = []
    with catalogue.alone(settings) as connection:
        entries = {name: catalogue.get(objects, name) for name in catalogue.ids(objects)}
        youngest: dict[str, str] = {}
        members: dict[str, list[str]] = {}
        for name, entry in entries.items():
            root = catalogue.chain(objects, entry)[-1].backup_id
            members.setdefault(root, []).append(name)
            youngest[root] = max(youngest.get(root, ""), entry.ended_at)
        for root in sorted(members)[:-1]:
            if datetime.fromisoformat(youngest[root]) < before:
                for name in sorted(members[root], reverse=True):
                    delete(connection, objects, name)
                    deleted.append(name)
        old, logs = _expire_metadata(connection, objects, before)
        catalogue.follow(connection, objects)
        _sweep_failed(connection, objects)
        orphans = _sweep_orphans(objects, before)
    copies = [prefix for name in deleted for prefix in _prefixes(name)] + orphans
    copies += [f"{METADATA}/{metadata.FOLDER}/{name}." for name in old]
    gateway.forget_copies(settings, [*copies, *(f"{METADATA}/{name}" for name in logs)])
    return [*deleted, *old]


def _prefixes(backup_id: str) -> list[str]:
    """Return where a backup of the warehouse lies in a bucket."""
    return [f"{WAREHOUSE}/{catalogue.FOLDER}/{backup_id}.json", f"{WAREHOUSE}/{backup_id}/"]


def delete(connection: psycopg.Connection[DictRow], objects: Minio, backup_id: str) -> None:
    """Delete one backup of the warehouse, its catalogue first.

    Raises ``BackupError`` naming the backups that stand on it.
    """
    standing = [
        name for name in catalogue.ids(objects)
        if catalogue.get(objects, name).base_id == backup_id
    ]  # fmt: skip
    if standing:
        raise BackupError(f"{backup_id} stays: {', '.join(standing)} stand on it")
    objects.remove_object(WAREHOUSE, f"{catalogue.FOLDER}/{backup_id}.json")
    _remove(objects, WAREHOUSE, f"{backup_id}/")
    _note(connection, backup_id)


def _expire_metadata(
    connection: psycopg.Connection[DictRow], objects: Minio, before: datetime
) -> tuple[list[str], list[str]]:
    """Delete old base backups and the log that only they need; return ids and objects."""
    bases = metadata.bases(objects)
    old = [base for base in bases[:-1] if datetime.fromisoformat(base.ended_at) < before]
    for base in old:
        for suffix in (".json", ".files.tar.gz", ".tar.gz"):
            objects.remove_object(METADATA, f"{metadata.FOLDER}/{base.backup_id}{suffix}")
        _note(connection, base.backup_id)
    kept = [base for base in bases if base not in old]
    logs = []
    if kept:
        # The log from before the oldest base that is kept leads nowhere.
        limit = datetime.fromisoformat(kept[0].started_at).astimezone(UTC) - timedelta(hours=1)
        for item in list(objects.list_objects(METADATA, f"{segments.FOLDER}/", recursive=True)):
            if item.last_modified < limit and not item.object_name.endswith(".history.gz"):
                objects.remove_object(METADATA, item.object_name)
                logs.append(item.object_name)
    return [base.backup_id for base in old], logs


def _sweep_failed(connection: psycopg.Connection[DictRow], objects: Minio) -> None:
    """Delete what failed backups left in the bucket."""
    rows = connection.execute(sql.render("postgres/backups/failed_leftovers.sql")).fetchall()
    for row in rows:
        _remove(objects, WAREHOUSE, f"{row['backup_id']}/")
        connection.execute(
            "UPDATE backups SET object_count = 0 WHERE backup_id = %s", [row["backup_id"]]
        )


def _sweep_orphans(objects: Minio, before: datetime) -> list[str]:
    """Delete what is of no backup, and older than any may become; return the prefixes."""
    complete = {*catalogue.ids(objects), *metadata.ids(objects)}
    found = []
    for bucket, folder in ((WAREHOUSE, ""), (METADATA, f"{metadata.FOLDER}/")):
        for item in list(objects.list_objects(bucket, folder)):
            name = _ID.match(item.object_name.removeprefix(folder))
            if name and name[0] not in complete and name[1] < f"{before:%Y%m%dT%H%M%S}":
                _remove(objects, bucket, item.object_name)
                found.append(f"{bucket}/{item.object_name}")
    return found


def _remove(objects: Minio, bucket: str, prefix: str) -> None:
    for item in list(objects.list_objects(bucket, prefix, recursive=True)):
        objects.remove_object(bucket, item.object_name)


def _note(connection: psycopg.Connection[DictRow], backup_id: str) -> None:
    connection.execute("UPDATE backups SET state = 'deleted' WHERE backup_id = %s", [backup_id])
