"""Back up ClickHouse: a full backup a day, an increment on the last successful one each hour.

**What it does.** Publication stands still for the moment it takes to clone every table with hard
links (the log says how many milliseconds), so all tables show one moment. ClickHouse's own BACKUP
then writes table by table through the encrypting gateway into the backup bucket. The catalogue
(`./millrace backups list`) keeps rows and a hash of every table, and the Kafka positions.

**Safe to repeat.** A second run beside this one fails at once and says so. The retry of an
interrupted backup goes on from the same cut with the tables that are missing.

**When it fails.**
- *`the bucket holds … the catalogue says …`*: objects of the chain were lost. Take a new full
  backup, `./millrace backups run --full`, and find out who deletes in the bucket.
- *an S3 error*: the bucket is full or down. The last good backup is still the last good one.

See docs/backups.md and docs/runbooks.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, task

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual


@dag(
    schedule=CronTriggerTimetable("20 * * * *", timezone="UTC"),
    **manual(__doc__),
    max_active_runs=1,
    tags=[Tag.BACKUPS, Tag.TIER_1],
    default_args=default_args(Pool.MAINTENANCE),
    params={"full": Param(False, type="boolean", title="Full, whatever the last one was")},
)
def back_up_warehouse() -> None:
    """One task: choose full or incremental, cut, write, catalogue."""

    @task(execution_timeout=timedelta(hours=6))
    def back_up(params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the backup and return what the catalogue says of it."""
        from millrace.backups import warehouse

        full = True if (params or {}).get("full") else None
        entry = warehouse.back_up(settings(), "back_up_warehouse", is_full=full)
        return {
            "backup": entry.backup_id,
            "stands_on": entry.base_id,
            "rows": entry.rows,
            "bytes": entry.byte_count,
            "publication_stood_still_seconds": entry.lock_seconds,
        }

    back_up()


back_up_warehouse()
