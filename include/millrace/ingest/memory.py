"""Whether ClickHouse itself is short of memory: what it refuses then says little of who asked."""

from __future__ import annotations

from clickhouse_connect.driver.client import Client

from millrace.stores import sql

SHORT = 0.5
"""From this share of its memory taken on, a server without the refused statement is short of it."""

LIMIT_EXCEEDED = 241


def is_short(client: Client) -> bool:
    """Tell whether the server has little memory left, although the statement has failed."""
    ((taken, most),) = client.query(sql.render("clickhouse/ingest/memory.sql")).result_rows
    return bool(most) and taken >= SHORT * most


def is_to_blame(client: Client, error: Exception) -> bool:
    """Tell whether a statement failed for want of memory that others have taken."""
    return getattr(error, "code", None) == LIMIT_EXCEEDED and is_short(client)
