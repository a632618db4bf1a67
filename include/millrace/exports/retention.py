"""Deleting export objects: those of older runs, of windows past their retention, of old links."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from minio import Minio

from millrace.exports import definitions
from millrace.exports.definitions import ExportError
from millrace.exports.on_demand import FOLDER
from millrace.exports.windows import Window, folder
from millrace.settings import Settings
from millrace.stores import objects, postgres, sql

GRACE = timedelta(days=1)
"""How long the files of a replaced manifest stay, for readers who have it open."""


@dataclass(frozen=True)
class Expired:
    """How many runs, windows and objects were deleted."""

    runs: int
    windows: int
    objects: int


def expire(settings: Settings, now: datetime) -> Expired:
    """Delete what no reader needs any more, and remember that it was deleted.

    A window past its retention loses its manifest first, so that no manifest names missing files.
    """
    store, bucket = objects.connect(settings), settings.s3_bucket
    deleted = 0
    with postgres.connect(settings) as connection:
        query = sql.render("postgres/exports/expired_windows.sql")
        old = connection.execute(query, {"now": now}).fetchall()
        for row in old:
            (definition,) = definitions.read(connection, row["name"])
            window = Window(row["name"], row["window_start"].astimezone(UTC), row["window_end"])
            place = f"{definition.destination}/{folder(definition, window)}"
            for marker in ("_SUCCESS", "manifest.json"):
                store.remove_object(bucket, f"{place}/{marker}")
            with connection.transaction():
                connection.execute(
                    "DELETE FROM exported_windows WHERE name = %s AND window_start = %s",
                    [row["name"], row["window_start"]],
                )
                connection.execute(
                    "UPDATE export_runs SET state = 'superseded', ended_at = %s WHERE run_id = %s",
                    [now - GRACE, row["run_id"]],
                )
        query = sql.render("postgres/exports/stale_runs.sql")
        runs = connection.execute(query, {"before": now - GRACE}).fetchall()
        for row in runs:
            deleted += delete_prefix(store, bucket, row["prefix"])
            connection.execute(
                "UPDATE export_runs SET objects_deleted_at = clock_timestamp() WHERE run_id = %s",
                [row["run_id"]],
            )
    for item in store.list_objects(bucket, f"{FOLDER}/", recursive=True):
        if item.last_modified + timedelta(hours=settings.export_link_hours) < now:
            store.remove_object(bucket, item.object_name)
            deleted += 1
    return Expired(len(runs), len(old), deleted)


def delete_prefix(store: Minio, bucket: str, prefix: str) -> int:
    """Delete the objects below a run's own prefix; return how many there were."""
    if "/run=" not in prefix:
        raise ExportError(f"{prefix!r} is no run's own folder; nothing was deleted")
    names = [item.object_name for item in store.list_objects(bucket, prefix, recursive=True)]
    for name in names:
        store.remove_object(bucket, name)
    return len(names)
