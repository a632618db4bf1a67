"""Hold rollups against events after a restore, and make good what does not agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

from millrace.contract import sources
from millrace.ingest import mending
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

RETENTION_MARGIN = timedelta(days=1)


def prove(settings: Settings, half_published: Sequence[int], say: Callable[[str], None]) -> None:
    """Recompute every rollup from the events of each day that still has all of them.

    So rollups have what ``half_published`` micro-batches had in events, and only that: what is
    missing there is loaded by their repetition.

    The caller holds the publication lock alone, and nothing else writes. Rollups of days whose
    events expire are kept longer than those, and stay as they are. ``say`` is told what was done,
    and which rollups can't be computed by the day.
    """
    with postgres.connect(settings) as connection:
        targets = sorted({source.target_table for source in sources.every(connection)})
        repeat = sql.render("postgres/backups/repeat_as_new.sql")
        connection.execute(repeat, {"batches": list(half_published)})
    for target in targets:
        days = _days(settings, target)
        if not days:
            continue
        unfit = mending.make_good(settings, target, "restore", days)
        say(f"rollups of {target} were recomputed from the events of {len(days)} days")
        for rollup, why in sorted(unfit.items()):
            say(f"WARNING: {rollup} could not be held against {target}: {why}")


def _days(settings: Settings, target: str) -> list[date]:
    kept = timedelta(days=settings.events_retention_days) - RETENTION_MARGIN
    since = (datetime.now(UTC) - kept).date()
    with clickhouse.connect(settings) as client:
        rows = client.query(
            sql.render("clickhouse/backups/days.sql"),
            parameters={"database": clickhouse.database(settings), "table": target},
        ).result_rows
    return [day for (day,) in rows if day > since]
