"""Taking people's rows out of exported objects, the raw archive included.

Every file in the bucket is looked at, and not what the catalogue says of it: an export may be
switched off, may have been made under looser rules, replaced, or forgotten by a restore of
PostgreSQL. What a file holds is told by its own columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.contract import locks, personal, sources
from millrace.contract.personal import AS_RECEIVED, USER
from millrace.exports import definitions, reconcile
from millrace.exports.definitions import FORMATS, SUFFIXES, ExportError
from millrace.exports.on_demand import FOLDER
from millrace.exports.windows import Window
from millrace.exports.writer import Exporter
from millrace.settings import Settings
from millrace.stores import sql
from millrace.stores.errors import first_line
from millrace.stores.quoting import literal

BY_SUFFIX = {suffix: FORMATS[name] for name, suffix in SUFFIXES.items()}


@dataclass
class Files:
    """Which objects an erasure replaced by ones without the people, and which it deleted."""

    rewritten: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)


def erase(settings: Settings, users: Sequence[int]) -> Files:
    """Rewrite every published file that holds one of the users; delete others that do.

    A file is rewritten below a new run, and the window's manifest replaced, like any new export;
    the old files are deleted at once. Exports that began before wait to be looked at until they
    have ended. Raises ``ExportError`` naming what can't be read.
    """
    with Exporter(settings) as exporter:
        reconcile.reconcile(exporter)
        _await_others(exporter)
        work = _Erasure(exporter, users)
        for run in work.runs():
            work.erase(run)
    return work.files


@dataclass(frozen=True)
class _Run:
    """The files below one prefix, which one run wrote."""

    prefix: str
    suffix: str
    keys: tuple[str, ...]

    @property
    def place(self) -> str:
        """The window's own folder, where its manifest is."""
        return self.prefix.rstrip("/").rpartition("/")[0]


def _await_others(exporter: Exporter) -> None:
    """Return once the exports that are under way have ended."""
    for row in exporter.postgres.execute(
        "SELECT name, window_start FROM export_runs WHERE state = 'running'"
    ).fetchall():
        start = row["window_start"].astimezone(UTC).isoformat()
        with locks.alone(exporter.postgres, locks.EXPORT, row["name"], start):
            pass
    with locks.alone(exporter.postgres, locks.EXPORT, FOLDER):
        pass


class _Erasure:
    def __init__(self, exporter: Exporter, users: Sequence[int]) -> None:
        self.exporter, self.files = exporter, Files()
        every = sources.every(exporter.postgres)
        self.keys = personal.user_keys(every)
        key = exporter.settings.export_hash_key.get_secret_value()
        self.bound = {**personal.bound(users, self.keys), "hash_key": key}
        self.definitions = {one.name: one for one in definitions.every(exporter.postgres)}

    def runs(self) -> list[_Run]:
        """Return what lies in the bucket, run by run."""
        found: dict[tuple[str, str], list[str]] = {}
        for key in reconcile.objects(self.exporter):
            folder, _, name = key.rpartition("/")
            suffix = name.rpartition(".")[2]
            if suffix in BY_SUFFIX and ("/run=" in folder or folder.startswith(f"{FOLDER}/")):
                found.setdefault((f"{folder}/", suffix), []).append(key)
        return [_Run(*place, tuple(keys)) for place, keys in sorted(found.items())]

    def erase(self, run: _Run) -> None:
        """Take the people out of what a run wrote."""
        condition = self._condition(run)
        if not condition or not self._query("count_user", run, condition=condition)[0][0]:
            return
        manifest = self._shown(run)
        is_rewritten = manifest is not None and self._rewrite(run, manifest, condition)
        self._delete(run)
        if is_rewritten:
            self.files.rewritten += run.keys
        else:
            self.files.deleted += run.keys

    def _shown(self, run: _Run) -> dict[str, Any] | None:
        """Return the manifest that names a run's files; none if it names another's."""
        manifest = reconcile.manifest(self.exporter, run.place)
        is_its = manifest is not None and run.prefix.endswith(f"/run={manifest['run_id']}/")
        return manifest if is_its else None

    def _rewrite(self, run: _Run, manifest: dict[str, Any], condition: str) -> bool:
        """Publish a run's window without the people; return whether its files were still shown.

        An export that has published others meanwhile has read a source without them.
        """
        definition = self.definitions.get(manifest["export"])
        if definition is None:
            raise ExportError(
                f"{run.prefix} holds a person, and export_definitions has no {manifest['export']} "
                "any more: put it back (./millrace exports apply), or delete the files; then again"
            )
        window = Window(
            definition.name,
            datetime.fromisoformat(manifest["window_start"]),
            datetime.fromisoformat(manifest["window_end"]),
        )
        start = window.start.astimezone(UTC).isoformat()
        with locks.alone(self.exporter.postgres, locks.EXPORT, definition.name, start):
            if self._shown(run) is None:
                return False
            self.exporter.rewrite(definition, window, manifest, run.place, condition, self.bound)
        return True

    def _delete(self, run: _Run) -> None:
        for key in run.keys:
            self.exporter.objects.remove_object(self.exporter.settings.s3_bucket, key)
        self.exporter.postgres.execute(
            "UPDATE export_runs SET objects_deleted_at = clock_timestamp() WHERE prefix = %s",
            [run.prefix],
        )

    def _condition(self, run: _Run) -> str:
        """Return how to find the people in a run's files; empty if they don't hold any."""
        columns = {row[0] for row in self._query("columns", run)}
        names = [literal(key) for key in self.keys]
        if USER in columns:
            return sql.render("clickhouse/exports/is_user.sql", user=USER)
        if set(AS_RECEIVED) <= columns:
            sent = sql.render("clickhouse/contract/sent.sql", names=names)
            hashed = sql.render("clickhouse/exports/is_user.sql", user=AS_RECEIVED[0])
            return f"({sent} OR {hashed})"
        return ""

    def _query(self, name: str, run: _Run, **values: Any) -> list[Any]:
        query = sql.render(
            f"clickhouse/exports/{name}.sql",
            collection=self.exporter.collection,
            prefix=run.prefix,
            suffix=run.suffix,
            format=BY_SUFFIX[run.suffix],
            **values,
        )
        try:
            bound = self.bound if values else None
            return list(self.exporter.clickhouse.query(query, parameters=bound).result_rows)
        except ClickHouseError as error:
            raise ExportError(
                f"{run.prefix} can't be read, so nobody can say whether the person is in it "
                f"({first_line(error)}); delete it or put it back, then run the erasure again"
            ) from error
