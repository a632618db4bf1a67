"""Rollups whose view threw and was taken out of ingest's path: none of their windows passes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg.rows import DictRow


def reasons(client: Client, connection: psycopg.Connection[DictRow]) -> dict[str, str]:
    """Return every table and view that lacks events for it, with its database, and why."""
    rows = connection.execute("SELECT view, rollups, error FROM withdrawn_views").fetchall()
    found = {
        table: f"{row['view']} threw and was taken out of the path of ingest: {row['error']}"
        for row in rows
        for table in row["rollups"]
    }
    if not found:
        return {}
    views = client.query(
        "SELECT concat(database, '.', name), as_select FROM system.tables WHERE engine = 'View'"
    ).result_rows
    return spread(found, {str(name): str(select) for name, select in views})


def spread(reasons: Mapping[str, str], views: Mapping[str, str]) -> dict[str, str]:
    """Add the views that read any of the tables, directly or through one another."""
    found = dict(reasons)
    while True:
        read = {table: re.compile(rf"(?<![\w.]){re.escape(table)}(?!\w)") for table in found}
        more = {
            view: found[table]
            for view, select in views.items()
            for table, pattern in read.items()
            if view not in found and pattern.search(select)
        }
        if not more:
            return found
        found |= more
