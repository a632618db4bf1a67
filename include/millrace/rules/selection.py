"""Which rejected messages a replay takes: those that fit, and that no replay has taken before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg.rows import DictRow

from millrace.stores import sql

PAGE = 100_000
"""Positions that are looked at together, however many were replayed before."""

Position = tuple[str, int, int, int]
"""Topic, its incarnation, partition, offset."""


def unclaimed(
    connection: psycopg.Connection[DictRow],
    client: Client,
    wanted: Mapping[str, Any],
    refused: str,
) -> list[Position]:
    """Return positions in order, at most ``limit`` of what is ``wanted``.

    Claimed ones don't count towards the limit, or a second run would never get beyond it; those
    whose outcome is ``refused`` are claimed no more.
    """
    found: list[Position] = []
    after: Position = ("", 0, 0, 0)
    while len(found) < wanted["limit"]:
        place = dict(zip(("topic", "incarnation", "partition", "offset"), after, strict=True))
        rows = client.query(
            sql.render("clickhouse/rules/select_rejected.sql"),
            parameters={**wanted, **place, "page": PAGE},
        ).result_rows
        page: list[Position] = [(row[0], row[1], row[2], row[3]) for row in rows]
        claimed = _claimed(connection, wanted["source_id"], refused, page)
        found += [position for position in page if position not in claimed]
        if len(page) < PAGE:
            break
        after = page[-1]
    return found[: wanted["limit"]]


def _claimed(
    connection: psycopg.Connection[DictRow], source_id: str, refused: str, page: list[Position]
) -> set[Position]:
    columns = ("topics", "incarnations", "partitions", "offsets")
    values = zip(*page, strict=True) if page else ((),) * len(columns)
    rows = connection.execute(
        sql.render("postgres/rules/claimed_positions.sql"),
        {
            "source_id": source_id,
            "refused": refused,
            **{name: list(column) for name, column in zip(columns, values, strict=True)},
        },
    )
    return {
        (row["topic"], row["topic_incarnation"], row["partition"], row["offset"]) for row in rows
    }
