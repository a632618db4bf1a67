"""Making one export: write, check, publish."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from millrace.contract import ledger, locks, verdicts
from millrace.exports import schemas, windows
from millrace.exports.definitions import FORMATS, Definition, ExportError, PersonalData
from millrace.exports.windows import Window
from millrace.settings import Settings
from millrace.stores import clickhouse, objects, postgres, sql
from millrace.stores.postgres import one
from millrace.stores.quoting import identifier

ROWS_PER_FILE = 5_000_000
"""About how many rows of a window share a file."""


class NotPublishableError(ExportError):
    """The window is not exported now: its gate withholds it, or has not judged it yet."""


@dataclass(frozen=True)
class Export:
    """What a run wrote."""

    run_id: int
    prefix: str
    row_count: int
    byte_count: int
    files: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Measure:
    row_count: int
    content_hash: int


class Exporter:
    """Makes exports; owns a connection to each store until ``close``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.objects = objects.connect(settings)
        self.postgres = postgres.connect(settings)
        self.clickhouse: Client = clickhouse.connect(settings, "exporter")
        self.collection = clickhouse.object_collection(settings)

    def close(self) -> None:
        """Close the connections."""
        self.clickhouse.close()
        self.postgres.close()

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, definition: Definition, window: Window, requested_by: str) -> Export:
        """Export a window and publish it in place of an earlier export.

        Raises ``NotPublishableError`` while the quality gate does not let it pass, ``ExportError``
        when another run has the window or what was written is not what the source holds.
        """
        windows.check_aligned(definition, window)
        with self._alone(definition, window), self._run(definition, window, requested_by) as run_id:
            snapshot_at = self._admit(definition, window)
            place = f"{definition.destination}/{windows.folder(definition, window)}"
            prefix = self._claim_prefix(run_id, place)
            written = self.write(definition, definition.personal_data, window, snapshot_at, prefix)
            export = replace(written, run_id=run_id)
            self._publish(definition, window, snapshot_at, place, export)
        return export

    def write(
        self,
        definition: Definition,
        treatment: PersonalData,
        window: Window,
        snapshot_at: datetime,
        prefix: str,
        parameters: Mapping[str, object] | None = None,
        *,
        is_one_file: bool = False,
    ) -> Export:
        """Write the files of a window below ``prefix`` and check them against the source.

        Rows and a hash of every value are taken from the source and again from the objects.
        Raises ``ExportError`` when they differ.
        """
        select = definition.select(self.settings, treatment)
        bound = {
            **self._bound(definition, treatment, window, snapshot_at),
            **(parameters or {}),
        }
        return self._write(definition, treatment, window, select, bound, prefix, is_one_file)

    def rewrite(
        self,
        definition: Definition,
        window: Window,
        published: Mapping[str, Any],
        condition: str,
        parameters: Mapping[str, object],
    ) -> list[str]:
        """Publish a window anew from its own files, without the rows that ``condition`` finds.

        The old files are deleted at once; returns their keys. ``published`` is the window's run.
        """
        treatment = definition.personal_data
        select = definition.select(self.settings, treatment)
        bound = self._bound(definition, treatment, window, published["snapshot_at"])
        kept = sql.render(
            "clickhouse/exports/rest.sql",
            collection=self.collection,
            prefix=published["prefix"],
            suffix=definition.suffix,
            format=FORMATS[definition.format],
            structure=schemas.structure(schemas.describe(self.clickhouse, select, bound)),
            condition=condition,
        )
        with (
            self._alone(definition, window),
            self._run(definition, window, "an erasure") as run_id,
        ):
            place = f"{definition.destination}/{windows.folder(definition, window)}"
            prefix = self._claim_prefix(run_id, place)
            written = self._write(
                definition, treatment, window, kept, {**bound, **parameters}, prefix, False
            )
            export = replace(written, run_id=run_id)
            self._publish(definition, window, published["snapshot_at"], place, export)
            names = [
                item.object_name
                for item in self.objects.list_objects(
                    self.settings.s3_bucket, published["prefix"], recursive=True
                )
            ]
            for name in names:
                self.objects.remove_object(self.settings.s3_bucket, name)
            self.postgres.execute(
                "UPDATE export_runs SET objects_deleted_at = clock_timestamp() WHERE run_id = %s",
                [published["run_id"]],
            )
        return names

    def _bound(
        self,
        definition: Definition,
        treatment: PersonalData,
        window: Window,
        snapshot_at: datetime,
    ) -> dict[str, object]:
        return {
            "window_start": window.start,
            "window_end": window.end,
            "snapshot_at": snapshot_at,
            "hash_key": self._hash_key(definition, treatment),
        }

    def _claim_prefix(self, run_id: int, place: str) -> str:
        prefix = f"{place}/run={run_id}/"
        self.postgres.execute(
            "UPDATE export_runs SET prefix = %s WHERE run_id = %s", [prefix, run_id]
        )
        return prefix

    def _write(
        self,
        definition: Definition,
        treatment: PersonalData,
        window: Window,
        select: str,
        bound: Mapping[str, object],
        prefix: str,
        is_one_file: bool,
    ) -> Export:
        source = self._measure(select, bound)
        if source.row_count == 0:
            return Export(0, prefix, 0, 0, ())
        seconds = int((window.end - window.start).total_seconds())
        slices = 1 if is_one_file else math.ceil(source.row_count / ROWS_PER_FILE)
        self.clickhouse.command(
            sql.render(
                "clickhouse/exports/write.sql",
                collection=self.collection,
                prefix=prefix,
                suffix=definition.suffix,
                format=FORMATS[definition.format],
                time_column=definition.time_column,
                window_epoch=int(window.start.timestamp()),
                slice_seconds=math.ceil(seconds / slices),
                select=select,
                order_by=definition.order(treatment),
                is_binary=definition.holds_binary(treatment),
            ),
            parameters=dict(bound),
        )
        files = self._read_back(definition, select, bound, prefix)
        found = _Measure(
            sum(file["rows"] for file in files),
            sum(int(file["content_hash"]) for file in files) % 2**64,
        )
        if found != source:
            # A table without a moment of arrival may have changed under the export.
            again = self._measure(select, bound)
            cause = "the source changed meanwhile" if again != source else "the files are wrong"
            raise ExportError(
                f"export {definition.name} of {window.start:%F %T}: wrote {found.row_count:,} rows "
                f"(hash {found.content_hash}), the source has {source.row_count:,} "
                f"(hash {source.content_hash}); {cause}. Nothing was published; run it again"
            )
        size = sum(file["bytes"] for file in files)
        return Export(0, prefix, source.row_count, size, tuple(files))

    def _hash_key(self, definition: Definition, treatment: PersonalData) -> str:
        key = self.settings.export_hash_key.get_secret_value()
        hashes = treatment is PersonalData.HASHED and any(c.is_personal for c in definition.columns)
        if hashes and not key:
            raise ExportError(
                f"export {definition.name} hashes personal data: set MILLRACE_EXPORT_HASH_KEY"
            )
        return key

    def _measure(self, select: str, parameters: Mapping[str, object]) -> _Measure:
        query = sql.render("clickhouse/exports/measure.sql", select=select)
        row = self.clickhouse.query(query, parameters=dict(parameters)).result_rows[0]
        return _Measure(row[0], row[1])

    def _read_back(
        self, definition: Definition, select: str, parameters: Mapping[str, object], prefix: str
    ) -> list[dict[str, Any]]:
        columns = schemas.describe(self.clickhouse, select, parameters)
        query = sql.render(
            "clickhouse/exports/read_back.sql",
            collection=self.collection,
            prefix=prefix,
            suffix=definition.suffix,
            format=FORMATS[definition.format],
            structure=schemas.structure(columns),
            columns=[identifier(column["name"]) for column in columns],
        )
        return [
            {"key": prefix + name, "bytes": size, "rows": rows, "content_hash": str(content_hash)}
            for name, size, rows, content_hash in self.clickhouse.query(query).result_rows
        ]

    def _alone(self, definition: Definition, window: Window) -> AbstractContextManager[None]:
        start = window.start.isoformat()
        busy = f"export {definition.name} {start} is being made by another run; wait for it"
        return locks.at_once(
            self.postgres, locks.EXPORT, definition.name, start, error=ExportError(busy)
        )

    @contextmanager
    def _run(self, definition: Definition, window: Window, requested_by: str) -> Iterator[int]:
        """Record a run and yield its number; one that does not come to its end is marked so."""
        begun = self.postgres.execute(
            sql.render("postgres/exports/begin_run.sql"),
            {
                "name": definition.name,
                "start": window.start,
                "end": window.end,
                "requested_by": requested_by,
            },
        )
        run_id = int(one(begun)["run_id"])
        try:
            yield run_id
        except NotPublishableError as error:
            self._end(run_id, "skipped", str(error))
            raise
        except Exception as error:
            self._end(run_id, "failed", str(error))
            raise

    def _end(self, run_id: int, state: str, reason: str) -> None:
        self.postgres.execute(
            "UPDATE export_runs SET state = %s, reason = %s, ended_at = clock_timestamp() "
            "WHERE run_id = %s",
            [state, reason[:2000], run_id],
        )

    def _admit(self, definition: Definition, window: Window) -> datetime:
        """Return the snapshot to export; raise ``NotPublishableError`` unless it may go out."""
        if definition.gate:
            verdict = verdicts.ask(self.postgres, definition.gate, window.start, window.end)
            if verdict.status != "published":
                raise NotPublishableError(
                    f"{definition.name} of {window.start:%F %R} is {verdict.status}: "
                    f"{verdict.reason}. The next run of export_events tries it again"
                )
        snapshot_at = ledger.snapshot(self.postgres)
        if definition.arrival_column == definition.time_column and snapshot_at < window.end:
            raise NotPublishableError(
                f"{definition.name} of {window.start:%F %R} is not closed: ingest has a batch "
                f"of {snapshot_at:%F %T} open. The next run of export_events tries it again"
            )
        return snapshot_at

    def _publish(
        self,
        definition: Definition,
        window: Window,
        snapshot_at: datetime,
        place: str,
        export: Export,
    ) -> None:
        """Make a run's files the window's truth, unless a newer run already has.

        The row in ``exported_windows`` is locked around the PUT of the manifest, so that a run that
        was thought dead can't put an older manifest over a newer one.
        """
        select = definition.select(self.settings, definition.personal_data)
        bound = {
            "window_start": window.start,
            "window_end": window.end,
            "snapshot_at": snapshot_at,
            "hash_key": "",
        }
        columns = schemas.describe(self.clickhouse, select, bound)
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
