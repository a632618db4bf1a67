"""A warehouse and a ledger of a test module's own, beside those that other tests write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from pydantic import SecretStr

from millrace.settings import Settings
from millrace.stores import clickhouse, dictionaries, postgres
from millrace.stores.accounts import Service


@contextmanager
def own(settings: Settings, home: Path, name: str) -> Iterator[Settings]:
    """Make a database ``name`` in both stores, migrated, with a source and a gate; drop them after.

    What dbt built from it in ``analytics`` is dropped too, and what is ``published``. The server's
    one way into PostgreSQL leads to the new database meanwhile.
    """
    with postgres.connect(settings) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    made = settings.model_copy(
        update={
            "home": home,
            "clickhouse_url": settings.clickhouse_url.rsplit("/", 1)[0] + f"/{name}",
            "postgres_url": settings.postgres_url.rsplit("/", 1)[0] + f"/{name}",
            # The accounts have rights in the stack's own database; here the owner does it all.
            **{f"clickhouse_{account}_password": SecretStr("") for account in get_args(Service)},
        }
    )
    dictionaries.ensure(settings)
    postgres.migrate(made)
    clickhouse.migrate(made)
    client = clickhouse.connect(settings)
    lead = f"ALTER NAMED COLLECTION {dictionaries.COLLECTION} SET database = '{{}}'"
    client.command(lead.format(name))
    with postgres.connect(made) as ledger:
        ledger.execute(
            "INSERT INTO data_sources (source_id, description, topic, dead_letter_topic)"
            " VALUES ('test', 'Test', 'test', 'test.dead_letter')"
        )
        ledger.execute(
            "INSERT INTO gates (gate_id, source_id, statement, fingerprint, rules)"
            " OVERRIDING SYSTEM VALUE VALUES (1, 'test', '', '', '[]')"
        )
    try:
        yield made
    finally:
        client.command(lead.format(settings.postgres_url.rsplit("/", 1)[1]))
        for database in ("published", "analytics", name):
            client.command(f"DROP DATABASE IF EXISTS {database} SYNC")
        client.close()
        with postgres.connect(settings) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
