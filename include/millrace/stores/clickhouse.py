"""ClickHouse: connections, and the migration of its base tables."""

from __future__ import annotations

import os
import uuid
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from millrace.settings import Settings
from millrace.stores import accounts, migrations, quoting, sql

MIGRATIONS = "clickhouse/migrations"

S3_SETTINGS = {
    "s3_validate_etag_on_read": 0,  # rclone's ETags, and an encrypting gateway's, are no MD5
}

CLIENT_SETTINGS = {
    "max_query_size": 16 << 20,  # a gate of many rules is a long statement
    **S3_SETTINGS,
}

SESSION_SECONDS = 60
"""How long a session lasts that nobody uses. What a killed process leaves lies there as long."""

PATIENT_SESSION_SECONDS = 1_800
"""The same of a session in which somebody thinks, or waits for a lock. A server allows an hour."""


def connect(
    settings: Settings,
    account: accounts.Service | None = None,
    *,
    database: str | None = None,
    session_id: str | None = None,
    session_seconds: int = SESSION_SECONDS,
) -> Client:
    """Open a client on ``settings.clickhouse_url`` as an account, the URL's own if none.

    A server of others on which the account has no password is entered as the URL's user, too.

    A ``session_id`` gives the client temporary tables of its own and forbids concurrent use;
    without one the client may be shared between threads. The server ends a session, tables and all,
    once it was idle for ``session_seconds``, and opens an empty one for whoever asks next. Raises
    ``clickhouse_connect.driver.exceptions.OperationalError`` when no server answers.
    """
    url = urlsplit(settings.clickhouse_url)
    user, password = credentials(settings, account)
    return clickhouse_connect.get_client(
        interface=url.scheme,
        host=url.hostname or "127.0.0.1",
        port=url.port or 8123,
        username=user,
        password=password,
        database=database or url.path.lstrip("/") or "default",
        session_id=session_id,
        autogenerate_session_id=False,
        compress=False,  # loopback and LAN: compression costs more than it saves
        connect_timeout=10,
        send_receive_timeout=300,
        settings=CLIENT_SETTINGS | _comment() | {"session_timeout": session_seconds},
    )


def _comment() -> dict[str, str]:
    """Name the Airflow task that asks, if one does, in the server's query log."""
    names = [os.environ.get(f"AIRFLOW_CTX_{part}_ID", "") for part in ("DAG", "TASK")]
    return {"log_comment": ".".join(names)} if all(names) else {}


def credentials(settings: Settings, account: str | None = None) -> tuple[str, str]:
    """Return the user and password to connect with: those of ``account`` if it has a password.

    ``account`` is one of ``accounts.yaml`` other than the owner, which is the URL's own user.
    """
    if account:
        own: SecretStr = getattr(settings, f"clickhouse_{account}_password")
        if own.get_secret_value():
            return account, own.get_secret_value()
    url = urlsplit(settings.clickhouse_url)
    password = unquote(url.password or "") or settings.clickhouse_password.get_secret_value()
    return unquote(url.username or "") or "default", password


def account_variables(settings: Settings) -> dict[str, str]:
    """Return each account's password by the name of its variable, for another server to know."""
    known = {}
    for account in accounts.read().accounts:
        name = "" if account.is_owner else f"{account.name}_"
        password: SecretStr = getattr(settings, f"clickhouse_{name}password")
        if password.get_secret_value():
            known[password_variable(account)] = password.get_secret_value()
    return known


def password_variable(account: accounts.Account) -> str:
    """Return the name of the variable with an account's password."""
    name = "" if account.is_owner else f"{account.name.upper()}_"
    return f"MILLRACE_CLICKHOUSE_{name}PASSWORD"


def database(settings: Settings) -> str:
    """Return the name of the database that holds the base tables."""
    return urlsplit(settings.clickhouse_url).path.lstrip("/") or "default"


def engine(settings: Settings, family: str = "MergeTree") -> str:
    """Return an engine name that follows the deployment: replicated on a cluster, plain elsewhere.

    ``family`` is ``MergeTree`` or one of its relatives (``SummingMergeTree``, …).
    """
    return f"Replicated{family}" if settings.clickhouse_cluster else family


def deduplication_setting(settings: Settings) -> str:
    """Return the table setting that makes an engine remember insert tokens."""
    return (
        "replicated_deduplication_window"
        if settings.clickhouse_cluster
        else "non_replicated_deduplication_window"
    )


def misses_last_second(settings: Settings) -> bool:
    """Tell whether the server misses rows just before a ``DateTime`` that a key is compared with.

    ClickHouse from 26.3 takes ``key < 13:00:00`` for ``key <= 12:59:59`` when it chooses parts and
    granules by a ``DateTime64`` key and the bound is a ``DateTime`` or a whole number.
    """
    with connect(settings, "operator", session_id=f"last-second-{uuid.uuid4()}") as client:
        *preparation, question = sql.render_all("clickhouse/stack/last_second.sql")
        for statement in preparation:
            client.command(statement)
        return int(client.query(question).result_rows[0][0]) == 0


def object_collection(settings: Settings) -> str:
    """See to a named collection for ``settings.s3_bucket`` and return its name.

    ``s3(<name>, filename = …)`` reads and writes objects with it, so that statements and their logs
    hold no credentials (the server masks them in the two statements that this runs).
    """
    return named_collection(settings, "millrace_objects", settings.s3_endpoint)


def named_collection(settings: Settings, name: str, endpoint: str, bucket: str = "") -> str:
    """See to a named collection for a bucket (``settings.s3_bucket`` if none) at ``endpoint``."""
    values = {
        "url": f"{endpoint}/{bucket or settings.s3_bucket}/",
        "access_key_id": settings.s3_access_key.get_secret_value(),
        "secret_access_key": settings.s3_secret_key.get_secret_value(),
    }
    on_cluster = quoting.on_cluster(settings.clickhouse_cluster)
    pairs = ", ".join(f"{key} = {quoting.literal(value)}" for key, value in values.items())
    with connect(settings, database="default") as client:
        client.command(f"CREATE NAMED COLLECTION IF NOT EXISTS {name} {on_cluster} AS {pairs}")
        client.command(f"ALTER NAMED COLLECTION {name} {on_cluster} SET {pairs}")
    return name


def apply_accounts(settings: Settings) -> list[str]:
    """Make the accounts that have a password on a server of others; return their names.

    The embedded server gets them when it starts. Raises
    ``clickhouse_connect.driver.exceptions.DatabaseError`` when the URL's user may not make users.
    """
    table = accounts.read()
    by_variable = account_variables(settings)
    passwords = {
        account.name: by_variable[password_variable(account)]
        for account in table.accounts
        if not account.is_owner and password_variable(account) in by_variable
    }
    if passwords:
        on_cluster = quoting.on_cluster(settings.clickhouse_cluster)
        with connect(settings, database="default") as client:
            for statement in table.statements(passwords, database(settings), on_cluster):
                client.command(statement)
    return sorted(passwords)


def migrate(settings: Settings) -> list[str]:
    """Apply the migrations under ``include/sql/clickhouse/migrations`` that were not yet applied.

    A file is applied once, in the order of its number, and recorded in ``schema_migrations`` with
    its hash. Statements inside a file must bear repetition (``IF NOT EXISTS``), since a crash may
    fall between a file and its record. Returns the names applied now. Raises
    ``migrations.EditedMigrationError`` before anything is applied when an applied file has changed.
    """
    name = database(settings)
    on_cluster = quoting.on_cluster(settings.clickhouse_cluster)
    variables: dict[str, object] = {
        "database": name,
        "on_cluster": on_cluster,
        "engine": lambda family="MergeTree": engine(settings, family),
        "deduplication_setting": deduplication_setting(settings),
        "raw_retention_days": settings.raw_retention_days,
        "events_retention_days": settings.events_retention_days,
    }
    with connect(settings, database="default") as bootstrap:
        for statement in sql.render_all("clickhouse/bootstrap.sql", **variables):
            bootstrap.command(statement)

    with connect(settings) as client:
        rows = client.query(sql.render("clickhouse/applied_migrations.sql")).result_rows
        done = {str(file): str(digest) for file, digest in rows}
        files = migrations.check(settings.sql_folder / MIGRATIONS, done)
        applied = []
        for file, digest in files.items():
            if file not in done:
                for statement in sql.render_all(f"{MIGRATIONS}/{file}.sql", **variables):
                    client.command(statement)
                applied.append(file)
            if not done.get(file):  # new, or applied before hashes were kept
                columns = ["name", "content_hash"]
                client.insert("schema_migrations", [[file, digest]], column_names=columns)
        follow_retention(client, settings)
    return applied


def follow_retention(client: Client, settings: Settings) -> list[str]:
    """Let tables of messages and events keep their rows as long as the settings say now.

    The gate accepts what the settings keep, so a table that kept less would drop what was accepted.
    One whose TTL someone took away keeps everything. Returns the tables that were changed.
    """
    on_cluster = quoting.on_cluster(settings.clickhouse_cluster)
    tables = client.query(
        sql.render("clickhouse/retention.sql"), parameters={"database": database(settings)}
    ).result_rows
    changed = []
    for table, column, days in tables:
        is_raw = column == "ingested_at"
        wanted = settings.raw_retention_days if is_raw else settings.events_retention_days
        if days != wanted:
            change = {"table": table, "on_cluster": on_cluster, "column": column, "days": wanted}
            client.command(sql.render("clickhouse/keep_for.sql", **change))
            changed.append(table)
    return changed
