"""Rollups of a rebuilt day: filled in shadows by the materialized views' own statements."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.stores import sql
from millrace.stores.errors import first_line
from millrace.stores.quoting import identifier

SETTINGS: dict[str, Any] = {
    "async_insert": 0,
    "insert_deduplicate": 0,  # two slices with the same rows are two slices
    "max_partitions_per_insert_block": 0,
    "lightweight_deletes_sync": 2,
    "mutations_sync": 2,
    "max_execution_time": 0,
    "max_bytes_before_external_group_by": 4 << 30,
    # Both cores, also where a statement only copies and computes.
    "optimize_trivial_insert_select": 0,
    "max_insert_threads": 2,
}
"""Settings of every statement of a rebuild."""

_NAME = r"(?:`[^`]+`|\w+)"
_TARGET = re.compile(rf"\bTO ({_NAME})\.({_NAME})")
# dbt puts the key in parentheses, and the engine keeps them.
_BY_DAY = re.compile(rf"\(?toDate\(({_NAME})\)")

PROBE_ROWS = 10_000
"""So many rows are tried first to see under which day a view files them."""


class RollupError(RuntimeError):
    """A rollup can't be rebuilt by the day. The message says which and why."""


def replace_partition(client: Client, table: str, shadow: str, day: date) -> None:
    """Put a shadow's partition in the place of a table's, at once; names with their database."""
    ((rows,),) = client.query(
        sql.render("clickhouse/rebuild/rows_of_partition.sql"),
        parameters={"partition": str(day), "name": shadow},
    ).result_rows
    change = f"REPLACE PARTITION '{day}' FROM {shadow}" if rows else f"DROP PARTITION '{day}'"
    client.command(f"ALTER TABLE {table} {change}", settings=SETTINGS)


def target_of(definition: str) -> str | None:
    """Return the table that a view's definition names with TO, with its database."""
    found = _TARGET.search(definition)
    return ".".join(part.strip("`") for part in found.groups()) if found else None


class Rollups:
    """The tables that materialized views fill from a table, directly or through one another.

    ``shadows`` maps each to its shadow. A view's result is additive by its nature (it is run on
    every inserted block), so a shadow may be filled from several tables one after the other.

    ``unfit`` maps those that can't be filled to the reason, where ``is_lenient``; otherwise the
    first of them raises.
    """

    def __init__(
        self, client: Client, database: str, suffix: str, *, is_lenient: bool = False
    ) -> None:
        self._client, self._database, self._suffix = client, database, suffix
        self._is_lenient = is_lenient
        self.shadows: dict[str, str] = {}
        self.unfit: dict[str, str] = {}

    def fill(self, origin: str, filled: str) -> None:
        """Run the views that read ``origin`` on ``filled`` instead, into the rollups' shadows."""
        self._fill(f"{self._database}.{origin}", f"{self._database}.{filled}")

    def _fill(self, origin: str, filled: str) -> None:
        database, table = origin.split(".")
        views = self._client.query(
            sql.render("clickhouse/rebuild/views.sql"),
            parameters={"database": database, "table": table},
        ).result_rows
        for view_database, view, select, definition in views:
            try:
                self._fill_by(f"{view_database}.{view}", select, definition, origin, filled)
            except (RollupError, ClickHouseError) as error:
                if not self._is_lenient or not getattr(
                    error, "code", isinstance(error, RollupError)
                ):
                    raise
                target = target_of(definition) or f"{view_database}.{view}"
                self.shadows.pop(target, None)
                self.unfit[target] = first_line(error)

    def _fill_by(self, view: str, select: str, definition: str, origin: str, filled: str) -> None:
        """Run one view on ``filled`` into its target's shadow, and those that read its target."""
        target = target_of(definition)
        if target is None:
            raise RollupError(
                f"{view} has no target table of its own (no TO), so its day can't be swapped; "
                "create it with TO"
            )
        part = f"{target}{self._suffix}_part"
        shadow = self._shadow(target)
        self._command(f"DROP TABLE IF EXISTS {part} SYNC")
        self._command(f"CREATE TABLE {part} AS {target}")
        columns = ", ".join(map(identifier, self._columns(select)))
        self._command(f"INSERT INTO {part} ({columns}) {self._with_origin(select, origin, filled)}")
        self._refuse_longer_windows(target, f"({columns}) {select}", origin, filled, part)
        self._command(f"INSERT INTO {shadow} SELECT * FROM {part}")  # noqa: S608
        self._fill(target, part)
        self._command(f"DROP TABLE {part} SYNC")

    def _refuse_longer_windows(
        self, target: str, select: str, origin: str, filled: str, part: str
    ) -> None:
        """Raise ``RollupError`` where rows of a day become windows that are filed under another.

        A window of several days is filed under the first of them, with what other days gave; to
        swap that partition would lose it. So the same rows, a day later, must be filed a day later.
        """
        days = self._partitions(filled)
        column = _BY_DAY.search(self._partition_key(origin))
        strays = self._partitions(part) - days
        if column is not None and not strays and self._partitions(part):
            later = f"SELECT * REPLACE (addDays({column[1]}, 1) AS {column[1]}) FROM {filled}"  # noqa: S608
            expected = {day + timedelta(days=1) for day in days}
            # A few rows tell, if the view lets any of them through.
            strays = (
                self._partitions_of(f"({later} LIMIT {PROBE_ROWS})", target, select, origin)
                or self._partitions_of(f"({later})", target, select, origin)
            ) - expected
        if strays:
            raise RollupError(
                f"a day of {origin} is filed under another day in {target}, whose windows are "
                "longer than a day or begin at another hour than midnight UTC, so its day can't be "
                "swapped; let dbt build it (materialized='incremental') instead of a view"
            )

    def _partitions_of(self, rows: str, target: str, select: str, origin: str) -> set[date]:
        """Return the days under which a view's result of some rows is filed."""
        probe = f"{target}_probe{self._suffix}_part"
        self._command(f"DROP TABLE IF EXISTS {probe} SYNC")
        self._command(f"CREATE TABLE {probe} AS {target}")
        self._command(f"INSERT INTO {probe} {self._with_origin(select, origin, rows)}")
        found = self._partitions(probe)
        self._command(f"DROP TABLE {probe} SYNC")
        return found

    def _partitions(self, table: str) -> set[date]:
        rows = self._client.query(
            sql.render("clickhouse/rebuild/partitions.sql"), parameters={"name": table}
        ).result_rows
        return {date.fromisoformat(partition) for (partition,) in rows}

    def _partition_key(self, table: str) -> str:
        database, name = table.split(".")
        rows = self._client.query(
            sql.render("clickhouse/rebuild/partition_key.sql"),
            parameters={"database": database, "table": name},
        ).result_rows
        return str(rows[0][0]) if rows else ""

    def drop(self) -> None:
        """Drop every shadow, also those that a killed rebuild has left."""
        rows = self._client.query(
            sql.render("clickhouse/rebuild/shadows.sql"),
            parameters={"suffix": self._suffix, "part": f"{self._suffix}_part"},
        ).result_rows
        for (name,) in rows:
            self._command(f"DROP TABLE IF EXISTS {name} SYNC")
        self.shadows = {}

    def _shadow(self, target: str) -> str:
        if target not in self.shadows:
            if not _BY_DAY.match(self._partition_key(target)):
                raise RollupError(
                    f"{target} is not partitioned by toDate(…), so its day can't be swapped"
                )
            self.shadows[target] = f"{target}{self._suffix}"
            self._command(f"CREATE TABLE {self.shadows[target]} AS {target}")
        return self.shadows[target]

    def _columns(self, select: str) -> list[str]:
        rows = self._client.query(f"DESCRIBE ({select})").result_rows
        return [row[0] for row in rows]

    @staticmethod
    def _with_origin(select: str, origin: str, filled: str) -> str:
        """Let a statement that ClickHouse has formatted read another table."""
        database, table = (re.escape(part) for part in origin.split("."))
        # The old name stays as the alias, since columns may be qualified by it.
        pattern = rf"\b(FROM|JOIN) `?{database}`?\.`?{table}`?(?![\w`.])(?! AS\b)"
        named = re.sub(pattern, rf"\1 {filled} AS {origin.split('.')[1]}", select)
        aliased = rf"\b(FROM|JOIN) `?{database}`?\.`?{table}`?(?![\w`.])"
        replaced = re.sub(aliased, rf"\1 {filled}", named)
        if replaced == select:
            raise RollupError(f"a view of {origin} does not read it by name: {select}")
        return replaced

    def _command(self, statement: str) -> None:
        self._client.command(statement, settings=SETTINGS)
