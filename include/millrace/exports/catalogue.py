"""What was exported: runs and windows in PostgreSQL, manifests and schemas beside the files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from minio import Minio
from psycopg.rows import DictRow

from millrace.contract import locks
from millrace.exports import schemas
from millrace.exports.definitions import Definition, ExportError
from millrace.exports.windows import Window
from millrace.settings import Settings
from millrace.stores import sql
from millrace.stores.postgres import one


class NotPublishableError(ExportError):
    """The window is not exported now: its gate withholds it, or has not judged it yet."""


def runs(
    connection: psycopg.Connection[DictRow], name: str, before: int, limit: int
) -> list[dict[str, Any]]:
    """Return an export's runs, the newest first, that have a smaller number than ``before``."""
    values = {"name": name, "before": before, "limit": limit}
    return connection.execute(sql.render("postgres/exports/runs.sql"), values).fetchall()


@dataclass(frozen=True)
class Export:
    """What a run wrote."""

    run_id: int
    prefix: str
    row_count: int
    byte_count: int
    files: tuple[dict[str, Any], ...]


class Catalogue:
    """Records runs, and makes what they wrote the truth of their windows."""

    def __init__(
        self, settings: Settings, postgres: psycopg.Connection[DictRow], objects: Minio
    ) -> None:
        self.settings = settings
        self.postgres = postgres
        self.objects = objects

    @contextmanager
    def run(self, definition: Definition, window: Window, requested_by: str) -> Iterator[int]:
        """Be alone with a window; give the id of a run, whose end is recorded if it fails.

        Raises ``ExportError`` when another run has the window.
        """
        start = window.start.isoformat()
        busy = f"export {definition.name} {start} is being made by another run; wait for it"
        with locks.at_once(
            self.postgres, locks.EXPORT, definition.name, start, error=ExportError(busy)
        ):
            run_id = self._begin(definition.name, window, requested_by)
            try:
                yield run_id
            except NotPublishableError as error:
                self._end(run_id, "skipped", str(error))
                raise
            except Exception as error:
                self._end(run_id, "failed", str(error))
                raise

    def published(self, definition: Definition, window: Window) -> DictRow | None:
        """Return the run that a window was published by, if it was."""
        query = sql.render("postgres/exports/published.sql")
        arguments = {"name": definition.name, "starts": [window.start]}
        return self.postgres.execute(query, arguments).fetchone()

    def claim_prefix(self, run_id: int, place: str) -> str:
        """Return the folder of a run below its window's, once it is recorded as the run's."""
        prefix = f"{place}/run={run_id}/"
        self.postgres.execute(
            "UPDATE export_runs SET prefix = %s WHERE run_id = %s", [prefix, run_id]
        )
        return prefix

    def _begin(self, name: str, window: Window, requested_by: str) -> int:
        begun = self.postgres.execute(
            sql.render("postgres/exports/begin_run.sql"),
            {"name": name, "start": window.start, "end": window.end, "requested_by": requested_by},
        )
        return int(one(begun)["run_id"])

    def _end(self, run_id: int, state: str, reason: str) -> None:
        self.postgres.execute(
            sql.render("postgres/exports/end_run.sql"),
            [state, reason[:2000], run_id],
        )

    def publish(
        self,
        definition: Definition,
        window: Window,
        snapshot_at: datetime,
        place: str,
        export: Export,
        columns: schemas.Columns,
    ) -> None:
        """Make a run's files the window's truth, unless a newer run already has.

        ``columns`` are names and types, as ``DESCRIBE`` gives them.

        The row in ``exported_windows`` is locked around the PUT of the manifest, so that a run that
        was thought dead can't put an older manifest over a newer one.
        """
        content_hash = sum(int(file["content_hash"]) for file in export.files) % 2**64
        with self.postgres.transaction():
            claimed = self.postgres.execute(
                sql.render("postgres/exports/publish.sql"),
                {
                    "name": definition.name,
                    "start": window.start,
                    "end": window.end,
                    "run_id": export.run_id,
                },
            ).fetchone()
            if claimed is None:
                raise ExportError(f"a newer run has published {definition.name} {window.start}")
            version = self._schema_version(definition, columns).number
            self.postgres.execute(
                sql.render("postgres/exports/finish_run.sql"),
                {
                    "run_id": export.run_id,
                    "snapshot_at": snapshot_at,
                    "schema_version": version,
                    "row_count": export.row_count,
                    "byte_count": export.byte_count,
                    "content_hash": content_hash,
                    "name": definition.name,
                    "start": window.start,
                    "end": window.end,
                },
            )
            manifest = {
                "export": definition.name,
                "run_id": export.run_id,
                "window_start": window.start.isoformat(),
                "window_end": window.end.isoformat(),
                "snapshot_at": snapshot_at.isoformat(),
                "format": definition.format,
                "schema_version": version,
                "schema": columns,
                "sorted_by": definition.order(definition.personal_data),
                "personal_data": str(definition.personal_data),
                "rows": export.row_count,
                "bytes": export.byte_count,
                "content_hash": str(content_hash),
                "files": list(export.files),
                "created_at": datetime.now(UTC).isoformat(),
            }
            self._put(f"{place}/manifest.json", json.dumps(manifest, indent=2))
            self._put(f"{place}/_SUCCESS", str(export.run_id))

    def _schema_version(self, definition: Definition, columns: schemas.Columns) -> schemas.Version:
        """Return the version of an export's columns; a new one is announced beside the files."""
        version = schemas.version_of(self.postgres, definition.name, columns)
        if version.is_new:
            content = {
                "version": version.number,
                "columns": columns,
                "changes": version.changes,
            }
            key = f"{definition.destination}/_schemas/v{version.number}.json"
            self._put(key, json.dumps(content, indent=2))
        return version

    def _put(self, key: str, text: str) -> None:
        data = text.encode()
        kind = "application/json" if key.endswith(".json") else "text/plain"
        self.objects.put_object(
            self.settings.s3_bucket, key, io.BytesIO(data), len(data), content_type=kind
        )
