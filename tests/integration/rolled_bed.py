"""A test bed for ingest with rollups that views fill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.helpers import wait
from tests.integration.ingest_bed import Bed

from millrace.settings import Settings

SELECT = (
    "SELECT toDate(event_time) AS day, user_id, count() AS events FROM events "
    "WHERE source_id = '{name}' GROUP BY day, user_id"
)
IS_LATER = (
    "SELECT now() > max(metadata_modification_time) FROM system.tables "
    "WHERE engine = 'MaterializedView'"
)


class Rolled(Bed):
    """A bed with a rollup by the day, and a coarser one that the first one's view feeds."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        for table in ("fine", "coarse"):
            self.query(
                f"CREATE TABLE {table}_{self.name} (day Date, user_id UInt64, events UInt64) "
                "ENGINE = SummingMergeTree PARTITION BY toDate(day) ORDER BY (day, user_id) "
                "SETTINGS non_replicated_deduplication_window = 1000"
            )
        self.hang("fine", SELECT)
        self.hang(
            "coarse",
            "SELECT day, 0 AS user_id, sum(events) AS events FROM fine_{name} GROUP BY day",
        )

    def hang(self, table: str, select: str) -> None:
        """Create the view that feeds a rollup."""
        self.query(
            f"CREATE MATERIALIZED VIEW {table}_{self.name}_mv TO {table}_{self.name} AS "
            + select.format(name=self.name)
        )

    def alter(self) -> None:
        """Give the views the statements that they have, as dbt does at every run.

        ClickHouse tells by the second when a view was altered; two times within one are the same.
        """
        wait.until(lambda: self.query(IS_LATER) == [(1,)])
        for table in ("fine", "coarse"):
            ((select,),) = self.query(
                f"SELECT as_select FROM system.tables WHERE name = '{table}_{self.name}_mv'"
            )
            self.query(f"ALTER TABLE {table}_{self.name}_mv MODIFY QUERY {select}")

    def replace(self) -> None:
        """Drop a view and create it again."""
        self.drop("fine")
        self.hang("fine", SELECT)

    def drop(self, table: str) -> None:
        """Drop a view."""
        self.query(f"DROP VIEW IF EXISTS {table}_{self.name}_mv SYNC")

    def rolled_up(self) -> list[int]:
        """Return how many events the rollups say there are."""
        return [
            int(self.query(f"SELECT sum(events) FROM {table}_{self.name}")[0][0])
            for table in ("fine", "coarse")
        ]

    def assert_counted_once(self, messages: int, events: int) -> None:
        """Every message is kept once with exactly one verdict, and both rollups agree."""
        self.assert_conserved(messages, events)
        assert self.rolled_up() == [events, events]


@contextmanager
def made(settings: Settings) -> Iterator[Rolled]:
    """Make a bed of one task, whose views go with it."""
    bed = Rolled(settings.model_copy(update={"ingest_tasks": 1, "ingest_lease_seconds": 2}))
    yield bed
    for table in ("fine", "coarse"):
        bed.drop(table)
