"""The catalogue of exports, brought into line with what lies in the bucket.

The manifest beside the files is what readers trust, and a restore of PostgreSQL does not change it:
so the catalogue learns from it which run is a window's, forgets windows whose files are gone, and
knows the files of runs that it has forgotten, so that they expire and are never written over.

Exports go on meanwhile. So whatever is done to a window is done alone with it, after a look at what
it is by then; and files that are there are never given up, for they may be the last copy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import DictRow

from millrace.contract import locks
from millrace.exports.writer import Exporter
from millrace.stores import sql

MANIFEST = "manifest.json"
NEEDED = {
    "export", "run_id", "window_start", "window_end", "snapshot_at", "schema_version", "schema",
    "format", "personal_data", "rows", "bytes", "content_hash", "files",
}  # fmt: skip
"""What a manifest says; another file of its name is none."""
_RUN = re.compile(r"(?P<place>.+)/run=(?P<run>\d+)/[^/]*")


def objects(exporter: Exporter) -> Iterator[str]:
    """Give the keys of everything in the bucket of exports."""
    found = exporter.objects.list_objects(exporter.settings.s3_bucket, recursive=True)
    return (str(item.object_name) for item in found)


def manifest(exporter: Exporter, place: str) -> dict[str, Any] | None:
    """Return the manifest in a window's folder; none where there is none, or it is damaged."""
    bucket, key = exporter.settings.s3_bucket, f"{place}/{MANIFEST}"
    if not any(item.object_name == key for item in exporter.objects.list_objects(bucket, key)):
        return None
    try:
        found = json.loads(exporter.objects.get_object(bucket, key).read())
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.keys() >= NEEDED else None


def differences(exporter: Exporter) -> list[str]:
    """Return, in sentences, what ``reconcile`` would change; changes nothing."""
    return _Reconciliation(exporter).run(is_dry=True)


def reconcile(exporter: Exporter) -> list[str]:
    """Bring the catalogue into line with the bucket; return what was changed, in sentences."""
    return _Reconciliation(exporter).run(is_dry=False)


class _Reconciliation:
    def __init__(self, exporter: Exporter) -> None:
        self.exporter, self.connection = exporter, exporter.postgres
        self.is_dry = True
        self.said: list[str] = []
        self.adopted: set[str] = set()
        self.runs: dict[str, set[int]] = {}
        places = []
        for key in objects(exporter):
            if found := _RUN.fullmatch(key):
                self.runs.setdefault(found["place"], set()).add(int(found["run"]))
            elif key.endswith(f"/{MANIFEST}"):
                places.append(key.removesuffix(f"/{MANIFEST}"))
        self.manifests = {
            place: known for place in places if (known := manifest(exporter, place)) is not None
        }

    def run(self, *, is_dry: bool) -> list[str]:
        self.is_dry = is_dry
        rows = self.connection.execute(
            sql.render("postgres/exports/known_runs.sql"), {"run_id": None}
        ).fetchall()
        by_prefix = {row["prefix"]: row for row in rows if row["prefix"]}
        names = {
            row["name"] for row in self.connection.execute("SELECT name FROM export_definitions")
        }
        for place, found in sorted(self.manifests.items()):
            prefix = f"{place}/run={found['run_id']}/"
            row = by_prefix.get(prefix)
            is_whole = found["run_id"] in self.runs.get(place, set()) or not found["files"]
            if is_whole and not (row and row["is_current"]) and found["export"] in names:
                self._adopt(place, prefix, found)
                self.adopted.add(place)
        for row in rows:
            if row["is_current"] and not self._is_shown(row):
                self._miss(row)
        known = set(by_prefix)
        for place, numbers in sorted(self.runs.items()):
            for number in sorted(numbers):
                prefix = f"{place}/run={number}/"
                current = self.manifests.get(place, {}).get("run_id")
                if prefix not in known and number != current:
                    self._note(prefix)
        self._skip_numbers()
        return self.said

    def _adopt(self, place: str, prefix: str, found: dict[str, Any]) -> None:
        """Make the run that a manifest names the window's."""
        values = {
            "name": found["export"],
            "start": datetime.fromisoformat(found["window_start"]),
            "end": datetime.fromisoformat(found["window_end"]),
            "run_id": found["run_id"],
            "prefix": prefix,
            "snapshot_at": found["snapshot_at"],
            "schema_version": found["schema_version"],
            "row_count": found["rows"],
            "byte_count": found["bytes"],
            "content_hash": found["content_hash"],
        }
        self.said.append(f"{place}: run {found['run_id']} is the window's, as its manifest says")
        if self.is_dry:
            return
        start = values["start"].astimezone(UTC).isoformat()
        with locks.alone(self.connection, locks.EXPORT, found["export"], start):
            now = manifest(self.exporter, place)
            if now is None or now["run_id"] != found["run_id"]:
                return  # a run has published meanwhile
            with self.connection.transaction():
                # A number that was given again since stands for another run; this one gets another.
                row = self.connection.execute(
                    sql.render("postgres/exports/adopt_run.sql"), values
                ).fetchall()[0]
                self.connection.execute(
                    sql.render("postgres/exports/adopt_window.sql"),
                    {**values, "run_id": row["run_id"]},
                )

    def _is_shown(self, row: DictRow) -> bool:
        """Say whether a window's files were there when the bucket was looked at, and shown."""
        place, number = _run_of(row["prefix"])
        is_named = self.manifests.get(place, {}).get("run_id") == number
        return place in self.adopted or (is_named and self._has_files(row))

    def _has_files(self, row: DictRow) -> bool:
        place, number = _run_of(row["prefix"])  # its own number may be another, if it was adopted
        return not row["row_count"] or number in self.runs.get(place, set())

    def _miss(self, row: DictRow) -> None:
        """Have a window exported again whose files are gone; name one that readers don't find."""
        place, number = _run_of(row["prefix"])
        start = row["window_start"].astimezone(UTC)
        gone = f"{place}: run {row['run_id']} is gone; the window is due again"
        hidden = (
            f"{place}: no manifest names the files of run {number}, which are there; "
            f"./millrace exports run {row['name']} {start:%Y-%m-%dT%H:%M} makes both again"
        )
        if self.is_dry:
            self.said.append(hidden if self._has_files(row) else gone)
            return
        with locks.alone(self.connection, locks.EXPORT, row["name"], start.isoformat()):
            now = self.connection.execute(
                sql.render("postgres/exports/known_runs.sql"), {"run_id": row["run_id"]}
            ).fetchone()
            if now is None or not now["is_current"]:
                return  # a run has published meanwhile
            bucket = self.exporter.settings.s3_bucket
            files = self.exporter.objects.list_objects(bucket, row["prefix"], recursive=True)
            if any(files) or not row["row_count"]:
                shown = manifest(self.exporter, place)
                if shown is None or shown["run_id"] != number:
                    self.said.append(hidden)
                return
            self.said.append(gone)
            with self.connection.transaction():
                self.connection.execute(
                    "DELETE FROM exported_windows WHERE run_id = %s", [row["run_id"]]
                )
                self.connection.execute(
                    sql.render("postgres/exports/lose_run.sql"),
                    [row["run_id"]],
                )

    def _note(self, prefix: str) -> None:
        """Have the files of a run that was forgotten expire."""
        self.said.append(f"{prefix}: no run is known that wrote it; it expires")
        if not self.is_dry:
            self.connection.execute(
                sql.render("postgres/exports/note_forgotten.sql"), {"prefix": prefix}
            )

    def _skip_numbers(self) -> None:
        """Have no later run write into the folder of one that was forgotten."""
        last = max((max(numbers) for numbers in self.runs.values()), default=0)
        if not self.is_dry and last:
            self.connection.execute(sql.render("postgres/exports/skip_runs.sql"), {"last": last})


def _run_of(prefix: str) -> tuple[str, int]:
    """Return the place and the number that a run's own folder tells; nothing of another's."""
    found = _RUN.fullmatch(prefix)
    return (found["place"], int(found["run"])) if found else ("", 0)
