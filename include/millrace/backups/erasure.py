"""Erasure on request: a person's rows, deleted from every table that has them, with a receipt.

Backups keep them until they expire; the receipts say what to erase again after the restore of
an older one. Exported objects are the exports' own business (``millrace.exports.erasure``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.backups.gateway import BackupError
from millrace.contract import publication, sources
from millrace.contract.personal import NAMES_USER
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql
from millrace.stores.quoting import identifier

AS_RECEIVED = ("raw_events", "rejected_events")
"""Tables whose rows name the user only inside the message."""


def find(settings: Settings, user_id: int) -> dict[str, int]:
    """Count a user's rows by table; changes nothing. Raises ``BackupError`` for no user id."""
    if user_id <= 0:
        raise BackupError(f"user_id: {user_id} is none")
    with clickhouse.connect(settings) as client, postgres.connect(settings) as connection:
        found = {
            table: _count(client, table, condition, user_id)
            for table, condition in _places(settings, client).items()
        }
        query = "SELECT count(*) AS n FROM user_profiles WHERE user_id = %s"
        found["user_profiles"] = connection.execute(query, [user_id]).fetchall()[0]["n"]
    return found


def erase(
    settings: Settings, user_id: int, requested_by: str, reason: str, files: Sequence[str] = ()
) -> dict[str, Any]:
    """Delete a user's rows and return the receipt.

    ``files`` are exported objects that were rewritten, for the receipt. A message that names the
    user goes from every table that it reached, and ``erased_positions`` remembers where it was, so
    that the proof of conservation knows. Publication stands still meanwhile, and the ledger's
    counts of the batches concerned shrink with the rows, so that reconciliation does not bring them
    back. Raises ``BackupError`` if any row is left.
    """
    found = find(settings, user_id)
    with (
        clickhouse.connect(settings) as client,
        postgres.connect(settings) as connection,
        publication.alone(connection),
    ):
        (began,) = connection.execute(
            "INSERT INTO erasures (user_id, requested_by, reason) VALUES (%s, %s, %s) "
            "RETURNING erasure_id",
            [user_id, requested_by, reason],
        ).fetchall()
        bound = {"user": user_id, "erasure": began["erasure_id"]}
        places = _places(settings, client)
        targets = [name for name in _targets(settings, connection) if name in places]
        holders = {name: places[name] for name in [*_as_received(settings), *targets]}
        is_erased = sql.render(
            "clickhouse/backups/is_erased.sql", database=clickhouse.database(settings)
        )
        client.command(
            sql.render("clickhouse/backups/mark_erased.sql", holders=holders), parameters=bound
        )
        for batch in _batches(client, is_erased, targets, bound):
            connection.execute(sql.render("postgres/backups/shrink_batch.sql"), batch)
        for table, condition in places.items():
            if found[table] or table in holders:
                client.command(
                    f"ALTER TABLE {table} DELETE WHERE "
                    f"{is_erased if table in holders else condition}",
                    parameters=bound,
                    settings={"mutations_sync": 2, "allow_nondeterministic_mutations": 1},
                )
        with connection.transaction():
            connection.execute("DELETE FROM user_profiles WHERE user_id = %s", [user_id])
            # The audit trail remembers that there was a profile, not what was in it.
            connection.execute(
                "UPDATE audit_logs SET old_value = NULL, new_value = NULL "
                "WHERE table_name = 'user_profiles' AND row_key = %s",
                [str(user_id)],
            )
        left = {table: count for table, count in find(settings, user_id).items() if count}
        if left:
            raise BackupError(f"still there after the erasure: {left}; run it again")
        receipt = {
            "erasure_id": began["erasure_id"],
            "user_id": user_id,
            "deleted_rows": found,
            "rewritten_files": list(files),
            "kafka": f"topics forget within {settings.topic_retention_hours} hours",
            "dead_letters": f"{settings.dead_letter_topic} forgets within its own retention",
            "backups": f"backups are gone after {settings.backup_retention_days} days",
        }
        connection.execute(
            "UPDATE erasures SET completed_at = clock_timestamp(), receipt = %s "
            "WHERE erasure_id = %s",
            [Jsonb(receipt), began["erasure_id"]],
        )
    return receipt


def _places(settings: Settings, client: Client) -> dict[str, str]:
    """Return every table that can hold a user's rows, with the condition that finds them."""
    mine = clickhouse.database(settings)
    rows = client.query(
        sql.render("clickhouse/backups/user_tables.sql"),
        parameters={"databases": [mine, "analytics"]},
    ).result_rows
    places = {identifier(database, table): "user_id = {user:UInt64}" for database, table in rows}
    return places | dict.fromkeys(_as_received(settings), NAMES_USER)


def _as_received(settings: Settings) -> list[str]:
    return [identifier(clickhouse.database(settings), table) for table in AS_RECEIVED]


def _targets(settings: Settings, connection: psycopg.Connection[DictRow]) -> list[str]:
    """Return the tables that hold the events of the sources."""
    tables = sorted({source.target_table for source in sources.every(connection)})
    return [identifier(clickhouse.database(settings), table) for table in tables]


def _count(client: Client, table: str, condition: str, user_id: int) -> int:
    query = sql.render("clickhouse/backups/count_user.sql", table=table, condition=condition)
    return int(client.query(query, parameters={"user": user_id}).result_rows[0][0])


def _batches(
    client: Client, is_erased: str, targets: Sequence[str], bound: dict[str, Any]
) -> list[dict[str, int]]:
    """Return how many rows each micro-batch loses."""
    query = sql.render("clickhouse/backups/user_batches.sql", is_erased=is_erased, targets=targets)
    rows = client.query(query, parameters=bound).result_rows
    return [dict(zip(("batch", "raw", "events", "rejected"), row, strict=True)) for row in rows]
