"""What backups say about themselves, in ``pipeline_metrics``, where alert rules look.

| metric | dimensions | what |
|---|---|---|
| `millrace_backup_last_success_timestamp_seconds` | kind | when the last good one was complete |
| `millrace_backup_target_age_seconds` | kind | how old that may become |
| `millrace_restore_drill_success` | kind | 1 if the last drill proved it, else 0 |

``kind`` is ``warehouse``, ``metadata`` or ``wal`` (the archived log; drills know the first two).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.backups.gateway import BackupError
from millrace.contract import metrics
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

log = logging.getLogger(__name__)

TARGET_AGE_SECONDS = {"warehouse": 2 * 3600.0, "metadata": 26 * 3600.0, "wal": 120.0}
"""An hourly, a daily and a continuous backup, each with time to run and one retry."""


def succeeded(settings: Settings, kind: str, at: datetime | None = None) -> None:
    """Write that a backup of a kind is complete, as of ``at`` (now by default).

    ClickHouse being away does not undo the backup: it is logged, and the alert on the age of the
    last sample says the rest.
    """
    now = datetime.now(UTC)
    samples = [
        ("millrace_backup_last_success_timestamp_seconds", (at or now).timestamp(), kind),
        ("millrace_backup_target_age_seconds", TARGET_AGE_SECONDS[kind], kind),
    ]
    try:
        _write(settings, now, samples)
    except (ClickHouseError, OSError) as error:
        log.warning("the %s backup is complete, but its metric is not written: %s", kind, error)


def drilled(settings: Settings, proved: dict[str, bool]) -> None:
    """Write which kinds a drill proved; raises ClickHouse's own errors."""
    name = "millrace_restore_drill_success"
    _write(settings, datetime.now(UTC), [(name, float(ok), kind) for kind, ok in proved.items()])


def check(settings: Settings) -> str:
    """Return the ages of the last successes; raise ``BackupError`` if a kind has no sample."""
    with clickhouse.connect(settings, "backup") as client:
        rows = client.query(sql.render("clickhouse/backups/last_success.sql")).result_rows
    found = {str(kind): float(age) for kind, age in rows}
    missing = sorted(TARGET_AGE_SECONDS.keys() - found.keys())
    if missing:
        raise BackupError(
            f"pipeline_metrics has no sample of a good backup for {', '.join(missing)}: the alert "
            "backup_late is blind"
        )
    return ", ".join(f"{kind} {age:.0f} s ago" for kind, age in sorted(found.items()))


def _write(settings: Settings, at: datetime, samples: Sequence[tuple[str, float, str]]) -> None:
    with clickhouse.connect(settings, "backup") as client:
        metrics.write(client, at, [(name, value, {"kind": kind}) for name, value, kind in samples])
