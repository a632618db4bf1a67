"""PostgreSQL: connections, and the migration of Millrace's own database."""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_dumps
from psycopg.types.string import StrDumperUnknown
from psycopg_pool import ConnectionPool

from millrace.settings import REPOSITORY, Settings
from millrace.stores import migrations, sql

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection


def dsn(settings: Settings) -> str:
    """Return the connection string with the password filled in."""
    url = urlsplit(settings.postgres_url)
    password = settings.postgres_password.get_secret_value()
    if url.password or not password:
        return settings.postgres_url
    user, _, place = url.netloc.rpartition("@")
    return urlunsplit(url._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))


def connect(settings: Settings, **options: Any) -> psycopg.Connection[DictRow]:
    """Open an autocommit connection whose rows are dictionaries.

    Use ``connection.transaction()`` where statements belong together. Times are in UTC, whatever
    the server's zone. What text and JSON can't hold is sent as ``fit`` makes it, so that no value
    from outside fails a statement. Raises ``psycopg.OperationalError`` when no server answers.
    """
    connection = psycopg.connect(dsn(settings), **_options(), **options)
    _prepare(connection)
    return connection


def pool(settings: Settings, most: int) -> ConnectionPool[psycopg.Connection[DictRow]]:
    """Open a pool of up to ``most`` connections as ``connect`` makes them; no server need answer.

    Taking one raises ``psycopg_pool.PoolTimeout`` (an ``OperationalError``) when none comes within
    five seconds.
    """
    return ConnectionPool(
        dsn(settings),
        connection_class=psycopg.Connection[DictRow],
        kwargs=_options(),
        configure=_prepare,
        check=ConnectionPool.check_connection,
        min_size=1,
        max_size=most,
        timeout=5,
        reconnect_timeout=60,
        open=True,
    )


def _options() -> dict[str, Any]:
    return {
        "autocommit": True,
        "row_factory": dict_row,
        "connect_timeout": 10,
        "application_name": "millrace",
        # A network that swallows packets must not hold a thread for the kernel's two hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }


def _prepare(connection: psycopg.Connection[DictRow]) -> None:
    connection.execute("SET TIME ZONE 'UTC'")
    connection.adapters.register_dumper(str, _TextDumper)
    set_json_dumps(_dump_json, connection)


@contextmanager
def change(
    connection: psycopg.Connection[DictRow], actor: str | None = None
) -> Iterator[psycopg.Connection[DictRow]]:
    """Open a transaction whose changes ``audit_logs`` puts down to ``actor``.

    Without one they are put down to whoever the surrounding transaction or session acts for, and
    in the end to the login.
    """
    with connection.transaction():
        connection.execute(sql.render("postgres/act_as.sql"), {"actor": actor, "login": login()})
        yield connection


def login() -> str:
    """Return who runs this process; the user's number where it has no name, as in some pods."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return f"uid {os.getuid()}"


def one(cursor: psycopg.Cursor[DictRow]) -> DictRow:
    """Return the row of a statement that always has one: an aggregate, INSERT … RETURNING.

    Raises ``LookupError`` where it has none.
    """
    row = cursor.fetchone()
    if row is None:
        raise LookupError("PostgreSQL gave no row for a statement that always has one")
    return row


MIGRATIONS = "postgres/migrations"

SUBSTITUTE = "\ufffd"
"""Stands for a character that PostgreSQL does not hold."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def fit(value: Any) -> Any:
    """Return a value as PostgreSQL's ``text`` and ``jsonb`` can hold it, however it is nested.

    They have neither NUL nor half a surrogate pair, and JSON has no number that is not finite:
    ``SUBSTITUTE`` stands in place of the former, the number's name in place of the latter.
    """
    if isinstance(value, str):
        return _UNSTORABLE.sub(SUBSTITUTE, value)
    if isinstance(value, dict):
        return {fit(name): fit(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [fit(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def shortened(text: str, most: int) -> str:
    """Return text in at most ``most`` characters: fit, and cut where it is longer.

    Texts that differ stay different: what was cut ends in ``…`` and eight hexadecimal digits.
    """
    kept: str = fit(text)
    if len(kept) <= most:
        return kept
    mark = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{kept[: most - 9]}…{mark}"


class _TextDumper(StrDumperUnknown):
    """Sends any text, as ``fit`` makes it."""

    def dump(self, obj: str) -> Any:
        """Return the text as the server gets it."""
        return super().dump(fit(obj))


def _dump_json(value: Any) -> str:
    return json.dumps(fit(value), ensure_ascii=False)


def migrate(settings: Settings) -> list[str]:
    """Bring the database to the newest schema (every Alembic branch's head).

    Each file that is applied is recorded with its hash; those applied before hashes were kept are
    taken as they are. Returns the names applied now. Raises ``migrations.EditedMigrationError``
    before anything is applied when an applied file has changed since.
    """
    from alembic import command
    from alembic.config import Config  # seconds to import, and only this needs it

    config = Config()
    config.set_main_option("script_location", str(REPOSITORY / "include" / "migrations"))
    config.attributes["dsn"] = dsn(settings)
    with connect(settings) as connection:
        connection.execute(sql.render("postgres/record_migrations.sql"))
        rows = connection.execute("SELECT name, content_hash FROM schema_migrations").fetchall()
        recorded = {row["name"]: row["content_hash"] for row in rows}
        files = migrations.check(settings.sql_folder / MIGRATIONS, recorded)
        before = _applied(connection, config)
        command.upgrade(config, "heads")
        after = _applied(connection, config)
        for name in sorted(after - recorded.keys()):
            digest = {"name": name, "content_hash": files[name]}
            connection.execute(sql.render("postgres/record_migration.sql"), digest)
    return sorted(after - before)


def _applied(connection: psycopg.Connection[DictRow], config: Config) -> set[str]:
    """Return the names of the migrations that the database has."""
    from alembic.script import ScriptDirectory

    if (
        connection.execute("SELECT to_regclass('alembic_version') AS it").fetchall()[0]["it"]
        is None
    ):
        return set()
    heads = [row["version_num"] for row in connection.execute("SELECT * FROM alembic_version")]
    scripts = ScriptDirectory.from_config(config)
    return {script.revision for script in scripts.iterate_revisions(tuple(heads), "base")}


def apply_script(bind: Connection, name: str) -> None:
    """Run the statements in ``include/sql/postgres/migrations/<name>.sql`` on a migration's bind.

    They go to psycopg as they are, so that a ``%`` in them is no placeholder.
    """
    driver = bind.connection.driver_connection
    if driver is None:
        raise RuntimeError("the migration's database connection is closed")
    driver.execute(sql.render(f"{MIGRATIONS}/{name}.sql"))
