"""What the oracle asks the ledger."""

from __future__ import annotations

from psycopg.rows import DictRow

from millrace.settings import Settings
from millrace.stores import postgres, sql


def rows(settings: Settings, name: str, **values: object) -> list[DictRow]:
    """Run ``postgres/verify/<name>.sql`` with ``values`` bound and return its rows."""
    with postgres.connect(settings) as connection:
        return connection.execute(sql.render(f"postgres/verify/{name}.sql"), values).fetchall()


def incarnation(settings: Settings, topic: str, topic_id: str) -> int | None:
    """Return which incarnation of its name a topic is, or ``None`` if nobody planned for it."""
    (row,) = rows(settings, "incarnation", topic=topic, topic_id=topic_id)
    return None if row["incarnation"] is None else int(row["incarnation"])
