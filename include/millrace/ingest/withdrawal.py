"""No model stops ingest: a view that throws on what is inserted is taken out of the path.

ClickHouse pushes what is inserted through every materialized view that hangs on the table, and
fails the insert when one of them throws: a column that is empty for most, a table that it joins and
that is gone. The view is dropped, its definition and its error are kept in ``withdrawn_views``, and
the micro-batch is loaded without it. A deployment fills the rollup again from ``events``.

An error that may pass, as want of memory, says little of the view. It is waited for, as long as the
server itself is short of memory, and else for minutes; then the view goes too, since a view that
asks for too much must not stop ingest for good, and every build tries to bring it back.
"""

from __future__ import annotations

import logging
import re

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.contract import publication
from millrace.ingest import memory
from millrace.ingest.ledger import Ledger
from millrace.ingest.model import Batch
from millrace.ingest.rebuild.rollups import target_of
from millrace.stores import clickhouse, quoting, sql
from millrace.stores.errors import first_line, may_pass

log = logging.getLogger(__name__)

_NAME = r"(?:`(?:[^`\\]|\\.)+`|\w+)"
_PUSHING = rf": while pushing to view ({_NAME}\.{_NAME})(?: \([0-9a-f-]{{36}}\))?"
_PATH = re.compile(rf"(?:{_PUSHING})+")
_TARGET_GONE = re.compile(r"Target table '([^']+)' of view '[^']+' doesn't exist")


def withdraw_if_at_fault(ledger: Ledger, batch: Batch, error: ClickHouseError) -> None:
    """Take the view that an insert failed at out of the path, if it was one.

    One that failed with what may pass stays while the micro-batch ``may_wait``, and while the
    server has little memory left. The caller repeats the micro-batch.
    """
    passing = may_pass(error)
    if passing and batch.may_wait:
        return
    with clickhouse.connect(ledger.settings, "loader") as client:
        if memory.is_to_blame(client, error):
            return
        for view in _at_fault(client, str(error)):
            threw = _definition(client, view)
            with publication.alone(ledger.connection):
                # A deployment that had the lock may have put another in its place.
                if _definition(client, view) == threw:
                    withdraw(ledger, client, batch, view, str(error), passing=passing)


def view_in(message: str) -> str:
    """Return the view that an insert's error was thrown in, with its database; empty if in none.

    What was inserted may be in the message too, so only how it ends counts. Of views that feed one
    another, the innermost is the one that threw.
    """
    paths = list(_PATH.finditer(message))
    if not paths:
        return ""
    return str(re.findall(_PUSHING, paths[-1].group())[0])


def withdraw(
    ledger: Ledger, client: Client, batch: Batch, view: str, message: str, *, passing: bool
) -> None:
    """Drop a view, after keeping its definition and why. The caller holds the lock alone."""
    definition = _definition(client, view)
    if definition is None:
        return  # another worker did
    said = first_line(message, 1000)
    with ledger.connection.transaction():
        ledger.run(
            "withdraw_view",
            view=view.replace("`", ""),
            rollups=_fed_by(client, definition),
            definition=definition,
            error=said,
            batch_id=batch.batch_id,
            may_pass=passing,
        )
        ledger.incident(
            "view_withdrawn", batch.ranges[0], batch.incarnation, f"{view} threw: {said}"
        )
    on_cluster = quoting.on_cluster(ledger.settings.clickhouse_cluster)
    client.command(f"DROP VIEW IF EXISTS {view} {on_cluster} SYNC")
    log.error("the view %s threw and was taken out of the path of ingest: %s", view, said)


def _definition(client: Client, view: str) -> str | None:
    """Return a view's definition, if it is there."""
    found = client.query(
        sql.render("clickhouse/ingest/view.sql"), parameters={"view": view.replace("`", "")}
    ).result_rows
    return str(found[0][0]) if found else None


def _at_fault(client: Client, message: str) -> list[str]:
    if view := view_in(message):
        return [view]
    gone = _TARGET_GONE.search(message)
    if gone is None:
        return []
    rows = client.query(sql.render("clickhouse/ingest/every_view.sql")).result_rows
    return [name for name, definition in rows if target_of(definition) == gone[1]]


def _fed_by(client: Client, definition: str) -> list[str]:
    """Return the tables that a view fills, directly or through one another."""
    fed: list[str] = []
    waiting = [target_of(definition)]
    while waiting:
        table = waiting.pop()
        if table is None or table in fed:
            continue
        fed.append(table)
        database, name = table.split(".", 1)
        rows = client.query(
            sql.render("clickhouse/rebuild/views.sql"),
            parameters={"database": database, "table": name},
        ).result_rows
        waiting += [target_of(row[3]) for row in rows]
    return fed
