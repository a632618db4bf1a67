"""How far ingest has got, told to dbt as a table."""

from __future__ import annotations

from datetime import datetime

from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql


def record_published_through(settings: Settings) -> datetime:
    """Ask the ledger up to when everything is published, and record it for incremental models.

    A row of ``events`` that was ingested before the returned moment (UTC) is visible now, and none
    will be added. A moment already recorded is not recorded again.
    """
    with postgres.connect(settings) as ledger:
        row = ledger.execute(sql.render("postgres/transform/published_through.sql")).fetchone()
    if row is None:
        raise RuntimeError("the ledger gave no watermark")
    moment: datetime = row["published_through"]
    client = clickhouse.connect(settings)
    try:
        client.command(
            sql.render("clickhouse/transform/record_published_through.sql"),
            parameters={"moment": int(moment.timestamp() * 1000)},
        )
    finally:
        client.close()
    return moment
