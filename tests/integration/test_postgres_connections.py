"""Connections to PostgreSQL, whoever set up the server."""

from __future__ import annotations

from psycopg import sql

from millrace.settings import Settings
from millrace.stores import postgres


def test_times_are_in_utc_whatever_the_servers_zone(settings: Settings) -> None:
    with postgres.connect(settings) as connection:
        name = connection.info.dbname
        change = sql.SQL("ALTER DATABASE {} {}").format(
            sql.Identifier(name), sql.SQL("SET timezone TO 'America/New_York'")
        )
        connection.execute(change)
        try:
            with postgres.connect(settings) as other:
                (row,) = other.execute("SELECT now() AS now").fetchall()
            assert str(row["now"].utcoffset()) == "0:00:00"
            with postgres.pool(settings, 1) as pool, pool.connection() as other:
                (row,) = other.execute("SELECT now() AS now").fetchall()
            assert str(row["now"].utcoffset()) == "0:00:00"
        finally:
            connection.execute(
                sql.SQL("ALTER DATABASE {} RESET timezone").format(sql.Identifier(name))
            )
