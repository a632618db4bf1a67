"""Erasure on request: a person's rows, deleted from every table that has them, with a receipt.

An erasure is an order (``millrace.contract.erasures``) that is carried out: first it is committed,
so that nobody writes any more what the person sent before; then, while publication stands still,
what is there is deleted. What is repeated finds less to do, so an erasure that was cut off is begun
again, and one that a restored backup does not know is carried out once more (``receipts``).

Exported objects are the exports' own business (``millrace.exports.erasure``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.backups import copies
from millrace.backups.gateway import BackupError
from millrace.backups.person_tables import Tables
from millrace.contract import locks, people, personal, publication, sources
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql
from millrace.stores.quoting import literal

DIGESTS_AT_ONCE = 1_000
"""As many as a statement may bind: ClickHouse refuses a value of more than 128 KiB."""
MUTATION = {"mutations_sync": 2, "allow_nondeterministic_mutations": 1}


@dataclass(frozen=True)
class Order:
    """An order to erase a person, as the table ``erasures`` has it; that is its receipt, too."""

    erasure_id: int
    user_id: int
    requested_by: str
    reason: str
    requested_at: datetime
    completed_at: datetime | None = None
    receipt: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Order:
        """Return the order that a row of ``erasures`` is; its number comes as a ``Decimal``."""
        return cls(**{**row, "user_id": int(row["user_id"])})

    def as_dict(self) -> dict[str, Any]:
        """Return the order as plain values, with moments as ISO 8601."""
        moments = {"requested_at", "completed_at"}
        return {
            name: value.isoformat() if name in moments and value else value
            for name, value in asdict(self).items()
        }


def find(settings: Settings, user_id: int) -> dict[str, int]:
    """Count a user's rows by table; changes nothing. Raises ``BackupError`` for no user id."""
    check_user(user_id)
    with clickhouse.connect(settings) as client, postgres.connect(settings) as connection:
        return _Erasure(settings, client, connection, [user_id]).found()


def check_user(user_id: int) -> None:
    """Raise ``BackupError`` for a number that can't be a user's."""
    if not 0 < user_id <= people.MAX_USER_ID:
        raise BackupError(f"user_id: {user_id} is none; there are 1 to {people.MAX_USER_ID}")


def order(settings: Settings, user_id: int, requested_by: str, reason: str) -> Order:
    """Commit the order to erase a person; an earlier one that was not completed is begun again.

    Raises ``BackupError`` for no user id.
    """
    check_user(user_id)
    with postgres.connect(settings) as connection:
        row = postgres.one(
            connection.execute(
                sql.render("postgres/backups/begin_erasure.sql"),
                {"user_id": user_id, "requested_by": requested_by, "reason": reason},
            )
        )
    return Order.of_row(row)


def carry_out(settings: Settings, orders: Sequence[Order]) -> dict[str, int]:
    """Delete everything that people who are to be erased have in ClickHouse and PostgreSQL.

    Returns how many rows were found, by table, by this attempt or an earlier one. A message of
    theirs goes from every table that it reached, and ``erased_positions`` remembers where it was,
    so that the proof of conservation knows; the ledger's counts shrink with the rows, so that
    reconciliation does not bring them back. Raises ``BackupError`` if any row is left.
    """
    with clickhouse.connect(settings) as client, postgres.connect(settings) as connection:
        users = [one.user_id for one in orders]
        work = _Erasure(settings, client, connection, users)
        # A deployment fills tables with what it read before.
        with locks.alone(connection, locks.DEPLOYMENT), publication.alone(connection):
            work.look()  # what a deployment had made is gone, and a source may be new
            found = work.note(work.found(), orders)
            work.erase(max(one.erasure_id for one in orders))
            left = {table: count for table, count in work.found().items() if count}
        if left:
            raise BackupError(f"still there after the erasure: {left}; run it again")
    return found


def carry_out_beside(
    settings: Settings, client: Client, orders: Sequence[Order], staging: str
) -> None:
    """Delete people's rows from tables that a restore has read into ``staging``, before their time.

    The caller holds the publication lock alone. What PostgreSQL has of them goes, too.
    """
    with postgres.connect(settings) as connection:
        users = [one.user_id for one in orders]
        work = _Erasure(settings, client, connection, users, staging)
        work.erase(max(one.erasure_id for one in orders))


def carry_out_in_postgres(settings: Settings, orders: Sequence[Order]) -> None:
    """Delete what a PostgreSQL that was restored alone has of people: the warehouse lacks them."""
    users = [one.user_id for one in orders]
    with clickhouse.connect(settings) as client, postgres.connect(settings) as connection:
        _Erasure(settings, client, connection, users).erase_in_postgres(
            max(one.erasure_id for one in orders)
        )


def complete(settings: Settings, done: Order, receipt: dict[str, Any]) -> Order:
    """Record that an order is carried out, and return it with its receipt."""
    with postgres.connect(settings) as connection:
        row = postgres.one(
            connection.execute(
                sql.render("postgres/backups/complete_erasure.sql"),
                [Jsonb(receipt), done.erasure_id],
            )
        )
    return Order.of_row(row)


class _Erasure:
    """The deletion of some people from both stores, or from tables that lie ``staging``."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        connection: psycopg.Connection[DictRow],
        users: Sequence[int],
        staging: str = "",
    ) -> None:
        self.client, self.connection, self.users = client, connection, users
        self.base, self.staging = clickhouse.database(settings), staging
        self.look()

    def look(self) -> None:
        """See which sources there are, how they name people, and which tables hold them."""
        every = sources.every(self.connection)
        self.keys = personal.user_keys(every)
        self.bound = personal.bound(self.users, self.keys)
        self.tables = Tables(self.client, self.base, self.staging)
        sent = sql.render("clickhouse/contract/sent.sql", names=[literal(key) for key in self.keys])
        self.places = {
            **dict.fromkeys(self.tables.of_users, "has({users:Array(UInt64)}, toUInt64OrZero("
                            f"toString({personal.USER})))"),
            **dict.fromkeys(self.tables.as_received, sent),
        }  # fmt: skip
        self.is_erased = sql.render(
            "clickhouse/backups/is_erased.sql", positions=self.tables.named("erased_positions")
        )
        targets = sorted({source.target_table for source in every})
        of_targets = [self.tables.named(name) for name in targets]
        self.events = [name for name in of_targets if name in self.places]
        self.received = [
            name
            for name in map(self.tables.named, ("raw_events", "rejected_events"))
            if name in self.places
        ]

    def found(self) -> dict[str, int]:
        """Count the people's rows by table."""
        counts = {}
        for table, condition in self.places.items():
            query = sql.render(
                "clickhouse/backups/count_user.sql", table=table, condition=condition
            )
            counts[table] = int(self.client.query(query, parameters=self.bound).result_rows[0][0])
        return counts | copies.count_rows(self.connection, self.users)

    def note(self, found: dict[str, int], orders: Sequence[Order]) -> dict[str, int]:
        """Note what was found before it goes, for an attempt that begins again; return it all."""
        for one in orders:
            for table, count in one.receipt.get("deleted_rows", {}).items():
                found[table] = max(count, found.get(table, 0))
        if len(orders) == 1:
            self.connection.execute(
                "UPDATE erasures SET receipt = receipt || %s WHERE erasure_id = %s",
                [Jsonb({"deleted_rows": found}), orders[0].erasure_id],
            )
        return found

    def erase(self, erasure_id: int) -> None:
        """Delete it all."""
        self.erase_rows(erasure_id)
        copies.delete_rows(self.connection, self.users)

    def erase_rows(self, erasure_id: int) -> None:
        """Mark the messages, take them off the ledger's counts, and delete rows and copies."""
        bound = {**self.bound, "erasure": erasure_id}
        holders = {table: self.places[table] for table in [*self.received, *self.events]}
        if holders:
            mark = sql.render(
                "clickhouse/backups/mark_erased.sql",
                holders=holders,
                positions=self.tables.named("erased_positions"),
            )
            self.client.command(mark, parameters=bound)
            self._shrink_batches(bound)
        # Copies are told by the messages that they were cut from, so these go last.
        self._delete_copies(bound)
        for table, condition in self.places.items():
            where = f"({self.is_erased} OR {condition})" if table in holders else condition
            if table in self.tables.append_only:
                self._write_anew(table, where, bound)
            else:
                self._mutate(f"ALTER TABLE {table} DELETE WHERE {where}", bound)

    def _shrink_batches(self, bound: dict[str, Any]) -> None:
        tables = {
            "raw": [name for name in self.received if name == self.tables.named("raw_events")],
            "events": self.events,
            "rejected": [
                name for name in self.received if name == self.tables.named("rejected_events")
            ],
        }
        query = sql.render(
            "clickhouse/backups/user_batches.sql", is_erased=self.is_erased, tables=tables
        )
        shrink = sql.render("postgres/backups/shrink_batch.sql")
        names = ("batch", "raw_gone", "raw_left", "events_gone", "events_left", "rejected_gone",
                 "rejected_left")  # fmt: skip
        for row in self.client.query(query, parameters=bound).result_rows:
            self.connection.execute(shrink, dict(zip(names, row, strict=True)))

    def erase_in_postgres(self, erasure_id: int) -> None:
        """Delete rows and copies in PostgreSQL only."""
        bound = {**self.bound, "erasure": erasure_id}
        copies.delete_texts(self.connection, self._own_texts(bound), self.users, self.keys)
        copies.delete_rows(self.connection, self.users)

    def _own_texts(self, bound: dict[str, Any]) -> copies.OwnTexts:
        shared = {"received": self.received, "events": self.events, "is_erased": self.is_erased}
        return copies.OwnTexts(self.client, shared, bound)

    def _delete_copies(self, bound: dict[str, Any]) -> None:
        own = self._own_texts(bound)
        for column in self.tables.copies:
            found = own.among_column(column.table, column.texts, are_elements=column.are_elements)
            for first in range(0, len(found), DIGESTS_AT_ONCE):
                digests = found[first : first + DIGESTS_AT_ONCE]
                self._mutate(column.statement, {"digests": digests})
        copies.delete_texts(self.connection, own, self.users, self.keys)

    def _write_anew(self, table: str, where: str, bound: dict[str, Any]) -> None:
        """Put a table without some rows in the place of one that nothing can be deleted from."""
        kept = f"{table[:-1]}__kept`"
        self.client.command(f"DROP TABLE IF EXISTS {kept} SYNC")
        self.client.command(f"CREATE TABLE {kept} AS {table}")
        self.client.command(
            f"INSERT INTO {kept} SELECT * FROM {table} WHERE NOT ({where})",  # noqa: S608
            parameters=bound,
        )
        self.client.command(f"EXCHANGE TABLES {table} AND {kept}")
        self.client.command(f"DROP TABLE {kept} SYNC")

    def _mutate(self, statement: str, bound: dict[str, Any]) -> None:
        self.client.command(statement, parameters=bound, settings=MUTATION)
