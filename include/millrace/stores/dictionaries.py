"""PostgreSQL seen from ClickHouse: a named collection, and dictionaries that read through it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from clickhouse_connect.driver.client import Client

from millrace.settings import Settings
from millrace.stores import clickhouse, quoting, sql

COLLECTION = "millrace_postgres"
"""The named collection that keeps PostgreSQL's address and credentials out of DDL."""


def ensure(settings: Settings) -> None:
    """Create the dictionary ``user_profiles``, and the named collection that it reads through.

    Both follow the settings. A collection that an administrator has configured is left as it is.
    """
    with clickhouse.connect(settings) as client:
        _ensure_collection(settings, client)
        ensure_dictionary(settings, client, "user_profiles", "clickhouse/ingest/user_profiles.sql")


def ensure_dictionary(
    settings: Settings, client: Client, name: str, file: str, **variables: object
) -> None:
    """Create a dictionary over PostgreSQL; replace one that reads another server or can't read.

    A dictionary that was loaded once goes on with the address and the password of then, whatever
    the collection says by now. ``file`` is its CREATE DICTIONARY, with ``variables`` beside those
    of every such file.
    """
    url = urlsplit(settings.postgres_url)
    place = f"{url.username}@{url.hostname}:{url.port or 5432}{url.path}"
    state = client.query(
        sql.render("clickhouse/dictionary_state.sql"), parameters={"name": name}
    ).result_rows
    if state and place in state[0][0] and not state[0][1]:
        return
    client.command(sql.render(file, collection=COLLECTION, place=place, **variables))


def _ensure_collection(settings: Settings, client: Client) -> None:
    url = urlsplit(settings.postgres_url)
    values = {
        "host": url.hostname or "127.0.0.1",
        "port": str(url.port or 5432),
        "database": unquote(url.path.lstrip("/")),
        "user": unquote(url.username or "") or "millrace",
        "password": unquote(url.password or "") or settings.postgres_password.get_secret_value(),
    }
    pairs = ", ".join(f"{key} = {quoting.literal(value)}" for key, value in values.items())
    known = client.query(
        "SELECT source FROM system.named_collections WHERE name = {name:String}",
        parameters={"name": COLLECTION},
    ).result_rows
    if not known:
        client.command(f"CREATE NAMED COLLECTION IF NOT EXISTS {COLLECTION} AS {pairs}")
    elif known[0][0] == "SQL":
        client.command(f"ALTER NAMED COLLECTION {COLLECTION} SET {pairs}")
