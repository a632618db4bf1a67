"""Profiles for enrichment: a ClickHouse dictionary over PostgreSQL's ``user_profiles``."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.settings import Settings
from millrace.stores import clickhouse, sql

log = logging.getLogger(__name__)

COLLECTION = "millrace_postgres"


def ensure(settings: Settings) -> None:
    """Create the dictionary, and the named collection that keeps its credentials out of DDL.

    A collection that an administrator has configured is left as it is.
    """
    client = clickhouse.connect(settings)
    try:
        known = client.command(f"EXISTS DICTIONARY {clickhouse.database(settings)}.user_profiles")
        if int(str(known)):
            return
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
    finally:
        client.close()


def is_ready(client: Client) -> bool:
    """Tell whether profiles can be looked up; if not, events keep the country they came with."""
    try:
        client.command("SELECT dictGetOrDefault('user_profiles', 'country', 0::UInt64, '')")
    except ClickHouseError as error:
        reason = str(error).split("\n")[0][:200]
        log.warning("no enrichment: the dictionary user_profiles does not answer: %s", reason)
        return False
    return True
