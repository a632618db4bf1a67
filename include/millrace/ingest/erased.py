"""Messages of erased people: found among those at hand, and remembered as missing on purpose."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from millrace.contract.erasures import Orders
from millrace.contract.sources import Source
from millrace.stores import sql


def send_orders(client: Client, orders: Orders) -> None:
    """Have a session's table ``erased_users`` hold the orders."""
    client.command("TRUNCATE TABLE erased_users")
    if orders.users:
        client.insert(
            "erased_users",
            list(orders.users),
            column_names=["user_id", "until"],
            column_type_names=["UInt64", "DateTime64(3, 'UTC')"],
        )


def find(client: Client, read: str, received: str) -> set[tuple[int, int]]:
    """Return partition and offset of the messages that the session's orders cover.

    They are left in its table ``erased``, and noted in ``erased_positions``. ``read`` and
    ``received`` name tables that hold the messages as the gate read them, and with their keys.
    """
    client.command("TRUNCATE TABLE erased")
    client.command(sql.render("clickhouse/ingest/find_erased.sql", read=read, received=received))
    rows = client.query("SELECT partition, offset FROM erased").result_rows
    if rows:
        client.command(sql.render("clickhouse/ingest/note_erased.sql"))
    return {(partition, offset) for partition, offset in rows}


def without(messages: pa.Table, places: Collection[tuple[int, int]]) -> pa.Table:
    """Return the messages that are at none of the places."""
    at = zip(messages["partition"].to_pylist(), messages["offset"].to_pylist(), strict=True)
    return messages.filter([one not in places for one in at])


def forget_kept(
    client: Client, source: Source, incarnation: int, places: Collection[tuple[int, int]]
) -> None:
    """Delete messages from ``raw_events`` that an earlier attempt kept while they were erased."""
    client.command(
        sql.render("clickhouse/ingest/forget_kept.sql"),
        parameters={
            "source_id": source.source_id,
            "topic": source.topic,
            "incarnation": incarnation,
            "places": sorted(places),
        },
        settings={"mutations_sync": 1},
    )
