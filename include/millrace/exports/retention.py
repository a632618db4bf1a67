"""Deleting export objects: those of older runs, of windows past their retention, of old links."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from minio import Minio
from psycopg.rows import DictRow

from millrace.contract import locks
from millrace.exports import reconcile
from millrace.exports.definitions import ExportError
from millrace.exports.on_demand import FOLDER
from millrace.exports.writer import Exporter
from millrace.settings import Settings
from millrace.stores import sql

log = logging.getLogger(__name__)

GRACE = timedelta(days=1)
"""How long the files of a replaced manifest stay, for readers who have it open."""


@dataclass(frozen=True)
class Expired:
    """How many runs, windows and objects were deleted."""

    runs: int
    windows: int
    objects: int


class _BusyError(Exception):
    """The window is being exported."""


def expire(settings: Settings, now: datetime) -> Expired:
    """Delete what no reader needs any more, and remember that it was deleted.

    The catalogue is brought into line with the bucket first, so that no run is taken for replaced,
    or for failed, whose files a manifest names. A window past its retention loses its manifest
    first, so that no manifest names missing files; one that is being exported waits a day.
    """
    deleted = 0
    with Exporter(settings) as exporter:
        for line in reconcile.reconcile(exporter):
            log.warning("%s", line)
        store, bucket = exporter.objects, settings.s3_bucket
        query = sql.render("postgres/exports/expired_windows.sql")
        old = exporter.postgres.execute(query, {"now": now}).fetchall()
        windows = sum(_forget(exporter, row, now) for row in old)
        _end_dead(exporter, now - GRACE)
        query = sql.render("postgres/exports/stale_runs.sql")
        runs = exporter.postgres.execute(query, {"before": now - GRACE}).fetchall()
        for row in runs:
            deleted += delete_prefix(store, bucket, row["prefix"])
            exporter.postgres.execute(
                "UPDATE export_runs SET objects_deleted_at = clock_timestamp() WHERE run_id = %s",
                [row["run_id"]],
            )
        for item in store.list_objects(bucket, f"{FOLDER}/", recursive=True):
            if item.last_modified + timedelta(hours=settings.export_link_hours) < now:
                store.remove_object(bucket, item.object_name)
                deleted += 1
    return Expired(len(runs), windows, deleted)


def _forget(exporter: Exporter, row: DictRow, now: datetime) -> bool:
    """Take a window from its readers; its files go with those of runs that were replaced."""
    start = row["window_start"].astimezone(UTC).isoformat()
    try:
        with locks.at_once(exporter.postgres, locks.EXPORT, row["name"], start, error=_BusyError()):
            now_known = exporter.postgres.execute(
                sql.render("postgres/exports/known_runs.sql"), {"run_id": row["run_id"]}
            ).fetchone()
            if now_known is None or not now_known["is_current"]:
                return False  # a run has published meanwhile, and the manifest is its
            # where its files are, wherever the export writes to by now
            if place := row["prefix"].rstrip("/").rpartition("/")[0]:
                for marker in ("_SUCCESS", reconcile.MANIFEST):
                    exporter.objects.remove_object(exporter.settings.s3_bucket, f"{place}/{marker}")
            with exporter.postgres.transaction():
                exporter.postgres.execute(
                    "DELETE FROM exported_windows WHERE run_id = %s", [row["run_id"]]
                )
                exporter.postgres.execute(
                    "UPDATE export_runs SET state = 'superseded', ended_at = %s WHERE run_id = %s",
                    [now - GRACE, row["run_id"]],
                )
    except _BusyError:
        return False
    return True


def _end_dead(exporter: Exporter, before: datetime) -> None:
    """Note that runs have failed which began ``before`` and died, so that their files expire."""
    query = "SELECT name, window_start FROM export_runs WHERE state = 'running' AND started_at < %s"
    for row in exporter.postgres.execute(query, [before]).fetchall():
        start = row["window_start"].astimezone(UTC).isoformat()
        try:
            with locks.at_once(
                exporter.postgres, locks.EXPORT, row["name"], start, error=_BusyError()
            ):
                exporter.postgres.execute(
                    sql.render("postgres/exports/end_dead.sql"),
                    {"name": row["name"], "start": row["window_start"]},
                )
        except _BusyError:
            continue


def delete_prefix(store: Minio, bucket: str, prefix: str) -> int:
    """Delete the objects below a run's own prefix; return how many there were."""
    if "/run=" not in prefix:
        raise ExportError(f"{prefix!r} is no run's own folder; nothing was deleted")
    names = [item.object_name for item in store.list_objects(bucket, prefix, recursive=True)]
    for name in names:
        store.remove_object(bucket, name)
    return len(names)
