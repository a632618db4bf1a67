"""How far ingest has got, told to dbt as a table, and how far the models have followed."""

from __future__ import annotations

from datetime import datetime

from millrace.contract import ledger
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql


def record_published_through(settings: Settings) -> datetime:
    """Ask the ledger up to when everything is published, and record it for incremental models.

    A row of ``events`` that was ingested before the returned moment (UTC) is visible now, and none
    will be added. A moment already recorded is not recorded again.
    """
    with postgres.connect(settings) as connection:
        moment = ledger.watermark(connection)
    with clickhouse.connect(settings, "dbt") as client:
        client.command(
            sql.render("clickhouse/transform/record_published_through.sql"),
            parameters={"moment": _milliseconds(moment)},
        )
    return moment


def is_anything_new(settings: Settings) -> bool:
    """Whether models have anything to be built from: events, rejections, or days swapped."""
    with clickhouse.connect(settings, "dbt") as client:
        found = client.query(sql.render("clickhouse/transform/is_anything_new.sql"))
    return bool(found.result_rows[0][0])


def record_build(settings: Settings, built_through: datetime) -> None:
    """Remember that every model was built and tested up to a watermark."""
    with clickhouse.connect(settings, "dbt") as client:
        client.command(
            sql.render("clickhouse/transform/record_build.sql"),
            parameters={"moment": _milliseconds(built_through)},
        )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
