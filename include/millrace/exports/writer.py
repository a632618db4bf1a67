"""Making one export: write, check, publish."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from millrace.contract import ledger, verdicts
from millrace.exports import schemas, windows
from millrace.exports.catalogue import Catalogue, Export, NotPublishableError
from millrace.exports.definitions import FORMATS, Definition, ExportError, PersonalData
from millrace.exports.windows import Window
from millrace.settings import Settings
from millrace.stores import clickhouse, objects, postgres, sql
from millrace.stores.quoting import identifier

ROWS_PER_FILE = 5_000_000
"""About how many rows of a window share a file."""


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
        self.catalogue = Catalogue(settings, self.postgres, self.objects)

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
        with self.catalogue.run(definition, window, requested_by) as run_id:
            snapshot_at = self._admit(definition, window)
            place = f"{definition.destination}/{windows.folder(definition, window)}"
            prefix = self.catalogue.claim_prefix(run_id, place)
            treatment = definition.personal_data
            select = definition.select(self.settings, treatment)
            bound = self._bound(definition, treatment, window, snapshot_at)
            written = self._write(definition, treatment, window, select, bound, prefix, False)
            export = replace(written, run_id=run_id)
            if definition.may_lack(self.settings, window.start):
                self._check_grown(definition, window, export)
            columns = schemas.describe(self.clickhouse, select, bound)
            self.catalogue.publish(definition, window, snapshot_at, place, export, columns)
        return export

    def _check_grown(self, definition: Definition, window: Window, export: Export) -> None:
        """Raise ``NotPublishableError`` if less would be published than is now.

        The source forgets rows after its retention, and a restore may leave them out; what was
        exported of them may be their last copy.
        """
        published = self.catalogue.published(definition, window)
        if published and published["row_count"] > export.row_count:
            raise NotPublishableError(
                f"{definition.name} of {window.start:%F %R} stays as it is: {definition.relation} "
                f"has {export.row_count:,} rows of it by now, and "
                f"{published['row_count']:,} are out"
            )

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
        manifest: Mapping[str, Any],
        place: str,
        condition: str,
        parameters: Mapping[str, object],
    ) -> None:
        """Publish a window again from the files in its folder, ``place``, without some rows.

        Those are the rows that ``condition`` finds with ``parameters``. The columns are those of
        the files, whatever the definition says today. The old files stay.
        """
        columns: schemas.Columns = manifest["schema"]
        names = {column["name"] for column in columns}
        is_timed = definition.time_column in names
        definition = replace(
            definition,
            time_column=definition.time_column if is_timed else columns[0]["name"],
            format=manifest["format"],
            columns=tuple(one for one in definition.columns if one.name in names),
            order_by=tuple(one for one in definition.order_by if one in names),
            personal_data=PersonalData(manifest["personal_data"]),
        )
        kept = sql.render(
            "clickhouse/exports/rest.sql",
            collection=self.collection,
            prefix=f"{place}/run={manifest['run_id']}/",
            suffix=definition.suffix,
            format=FORMATS[definition.format],
            structure=schemas.structure(columns),
            condition=condition,
        )
        snapshot_at = datetime.fromisoformat(manifest["snapshot_at"])
        with self.catalogue.run(definition, window, "an erasure") as run_id:
            prefix = self.catalogue.claim_prefix(run_id, place)
            written = self._write(
                definition, PersonalData.PLAIN, window, kept, parameters, prefix, not is_timed
            )
            export = replace(written, run_id=run_id)
            self.catalogue.publish(definition, window, snapshot_at, place, export, columns)

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
        epoch = math.floor(window.start.timestamp())  # of an export on demand, any moment
        seconds = math.ceil(window.end.timestamp()) - epoch
        slices = 1 if is_one_file else math.ceil(source.row_count / ROWS_PER_FILE)
        self.clickhouse.command(
            sql.render(
                "clickhouse/exports/write.sql",
                collection=self.collection,
                prefix=prefix,
                suffix=definition.suffix,
                format=FORMATS[definition.format],
                time_column=definition.time_column,
                window_epoch=epoch,
                slice_seconds=math.ceil(seconds / slices) if slices > 1 else 0,
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

    def _admit(self, definition: Definition, window: Window) -> datetime:
        """Return the snapshot to export; raise ``NotPublishableError`` unless it may go out."""
        if window.end > datetime.now(UTC):
            raise NotPublishableError(
                f"{definition.name} of {window.start:%F %R} has not ended yet"
            )
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
