"""Days whose events are kept no more: a deployment builds from events, and takes these along.

An hourly rollup is kept for years and events for months. Without this, changing such a model would
lose all that it knew of the time before the first event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.settings import Settings
from millrace.stores import sql
from millrace.stores.errors import first_line
from millrace.stores.quoting import identifier
from millrace.transform import project
from millrace.transform.manifest import Model


def take_along(
    settings: Settings, client: Client, built: Iterable[Model], *, error: type[Exception]
) -> Iterator[str]:
    """Copy into the models ``built`` in the shadow what production knows of such days; say of each.

    ``built`` has parents before children: what a rollup gets, its views pass on, and a child takes
    only days that it still lacks. Columns that production has not get their type's default.
    Raises ``error`` where a column's new type doesn't take what is in the old one.
    """
    for model in built:
        columns = _shared(client, model)
        if not (model.time and columns):
            continue
        names = {
            "target": identifier(project.SHADOW, model.name),
            "source": identifier(project.PRODUCTION, model.name),
            "time": model.time,
        }
        asked = {"kept": settings.events_retention_days}
        days, until = client.query(
            sql.render("clickhouse/transform/old_days.sql", **names), parameters=asked
        ).result_rows[0]
        if not days:
            continue
        names["columns"] = ", ".join(map(identifier, columns))
        try:
            client.command(
                sql.render("clickhouse/transform/take_along.sql", **names), parameters=asked
            )
        except ClickHouseError as reason:
            raise error(
                f"{model.name}: its {days} days up to {until}, of which no events are kept, do not "
                f"fit its columns: {first_line(reason)}\nGive what has another type another name."
            ) from reason
        yield f"kept {days} days of {model.name} up to {until}, of which there are no events"


def _shared(client: Client, model: Model) -> list[str]:
    """Return the columns of the shadow's table that production's has, too; none if it is none."""
    rows = client.query(
        sql.render("clickhouse/transform/shared_columns.sql"),
        parameters={
            "shadow": project.SHADOW,
            "production": project.PRODUCTION,
            "table": model.name,
        },
    ).result_rows
    return [name for (name,) in rows]
