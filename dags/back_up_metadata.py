"""Back up PostgreSQL: a base backup a day; the log is archived all the time beside it.

**What it does.** `pg_basebackup` streams both databases (Millrace's and Airflow's) through the
encrypting gateway, with configuration and the state of dbt and Great Expectations. The process
`wal_archiver` ships the write-ahead log every ten seconds; `check_archive` fails this run when the
log in the bucket is more than a minute behind, which is the promise (RPO).

**When it fails.** *`the log … is behind`*: look at the log of `wal_archiver`; PostgreSQL keeps the
log until it has been taken, so nothing is lost unless the disk fills. Any other failure leaves the
last good base backup as it was.

See docs/backups.md and docs/runbooks.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual


@dag(
    schedule=CronTriggerTimetable("45 2 * * *", timezone="UTC"),
    **manual(__doc__),
    max_active_runs=1,
    tags=[Tag.BACKUPS, Tag.TIER_1],
    default_args=default_args(Pool.MAINTENANCE),
)
def back_up_metadata() -> None:
    """Take the base backup, then see that the log follows."""

    @task(execution_timeout=timedelta(hours=3))
    def back_up() -> dict[str, Any]:
        """Stream the base backup."""
        from dataclasses import asdict

        from millrace.backups import metadata

        return asdict(metadata.back_up(settings(), "back_up_metadata"))

    @task
    def check_archive() -> str:
        """Fail unless a row committed now is in the bucket within a minute."""
        from millrace.backups import wal

        return f"archived {wal.await_archived(settings()):.1f} s after the commit"

    back_up() >> check_archive()


back_up_metadata()
