"""User profiles seen from ClickHouse: a dictionary over PostgreSQL's ``user_profiles``."""

from __future__ import annotations

from urllib.parse import urlsplit

from millrace.settings import Settings
from millrace.stores import clickhouse, sql

COLLECTION = "millrace_postgres"
"""The named collection that keeps PostgreSQL's address and credentials out of DDL."""


def ensure(settings: Settings) -> None:
    """Create the dictionary ``user_profiles``, and the named collection that it reads through.

    A collection that an administrator has configured is left as it is.
    """
    with clickhouse.connect(settings) as client:
        url = urlsplit(settings.postgres_url)
        client.command(
            sql.render("clickhouse/ingest/named_collection.sql", collection=COLLECTION),
            parameters={
                "host": url.hostname or "127.0.0.1",
                "port": url.port or 5432,
                "database": url.path.lstrip("/"),
                "user": url.username or "millrace",
                "password": url.password or settings.postgres_password.get_secret_value(),
            },
        )
        client.command(sql.render("clickhouse/ingest/user_profiles.sql", collection=COLLECTION))
