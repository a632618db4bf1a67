"""PostgreSQL: connections, and the migration of Millrace's own database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg.rows import DictRow, dict_row

from millrace.settings import REPOSITORY, Settings
from millrace.stores import sql

if TYPE_CHECKING:
    from sqlalchemy import Connection


def dsn(settings: Settings) -> str:
    """Return the connection string with the password filled in."""
    url = urlsplit(settings.postgres_url)
    password = settings.postgres_password.get_secret_value()
    if url.password or not password:
        return settings.postgres_url
    place = f"{url.username}:{quote(password, safe='')}@{url.hostname}:{url.port or 5432}"
    return urlunsplit(url._replace(netloc=place))


def connect(settings: Settings, **options: Any) -> psycopg.Connection[DictRow]:
    """Open an autocommit connection whose rows are dictionaries.

    Use ``connection.transaction()`` where statements belong together. Raises
    ``psycopg.OperationalError`` when no server answers.
    """
    return psycopg.connect(
        dsn(settings),
        autocommit=True,
        row_factory=dict_row,
        connect_timeout=10,
        application_name="millrace",
        **options,
    )


def migrate(settings: Settings) -> None:
    """Bring the database to the newest schema (every Alembic branch's head)."""
    from alembic import command
    from alembic.config import Config  # seconds to import, and only this needs it

    config = Config()
    config.set_main_option("script_location", str(REPOSITORY / "include" / "migrations"))
    config.attributes["dsn"] = dsn(settings)
    command.upgrade(config, "heads")


def apply_script(bind: Connection, name: str) -> None:
    """Run the statements in ``include/sql/postgres/migrations/<name>.sql`` on a migration's bind.

    They go to psycopg as they are, so that a ``%`` in them is no placeholder.
    """
    driver = bind.connection.driver_connection
    if driver is None:
        raise RuntimeError("the migration's database connection is closed")
    driver.execute(sql.render(f"postgres/migrations/{name}.sql"))
