"""Embedded PostgreSQL: one cluster, the databases ``millrace`` and ``airflow``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from psycopg import sql

from millrace.processes import database_user, unprivileged
from millrace.settings import Settings
from millrace.stack.server import Server, complete, find_program
from millrace.stores import postgres
from millrace.stores.sql import render

CONFIGURATION = """\
# Written by ./millrace up; put your own lines into millrace.toml or postgresql.auto.conf.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
password_encryption = scram-sha-256
max_connections = 200
shared_buffers = 128MB
work_mem = 8MB
max_wal_size = 1GB
wal_level = replica
log_min_messages = warning
log_timezone = UTC
timezone = UTC
"""
ACCESS = (
    "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"
)


def server(settings: Settings) -> Server:
    """Describe the embedded PostgreSQL."""
    folder = settings.home / "postgres"
    binary = find_program("postgres", *_binary_folders(), package="postgresql")

    def check() -> None:
        postgres.connect(settings.model_copy(update={"postgres_url": _admin_url(settings)})).close()

    return Server(
        name="postgres",
        command=unprivileged([binary, "-D", str(folder / "data")], settings.home),
        check=check,
        directory=folder,
        port=settings.port("postgres"),
        addresses={"postgresql": f"postgresql://127.0.0.1:{settings.port('postgres')}/millrace"},
        prepare=lambda: _prepare(settings, folder),
        stop_signal="INT",  # a fast shutdown: open transactions are rolled back
    )


def ensure_databases(settings: Settings, secrets: dict[str, str]) -> None:
    """Create the databases and Airflow's role unless they exist."""
    admin = settings.model_copy(update={"postgres_url": _admin_url(settings)})
    with postgres.connect(admin) as connection:
        password = secrets["MILLRACE_AIRFLOW_DATABASE_PASSWORD"]
        roles = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'airflow'")
        if roles.fetchone() is None:
            connection.execute(
                sql.SQL("CREATE ROLE airflow LOGIN PASSWORD {}").format(sql.Literal(password))
            )
        for name, owner in (("millrace", "millrace"), ("airflow", "airflow")):
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [name]).fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(
                        sql.Identifier(name), sql.Identifier(owner)
                    )
                )


def airflow_url(settings: Settings, secrets: dict[str, str]) -> str:
    """Return the SQLAlchemy URL of Airflow's metadata database."""
    password = secrets["MILLRACE_AIRFLOW_DATABASE_PASSWORD"]
    return f"postgresql+psycopg2://airflow:{password}@127.0.0.1:{settings.port('postgres')}/airflow"


def airflow_comment(settings: Settings) -> str:
    """Return the comment on Airflow's database; empty if it has none."""
    admin = settings.model_copy(update={"postgres_url": _admin_url(settings)})
    with postgres.connect(admin) as connection:
        row = connection.execute(render("postgres/stack/airflow_comment.sql")).fetchone()
    return (row or {}).get("comment") or ""


def set_airflow_comment(settings: Settings, comment: str) -> None:
    """Put a comment on Airflow's database."""
    admin = settings.model_copy(update={"postgres_url": _admin_url(settings)})
    statement = sql.SQL("COMMENT ON DATABASE airflow IS {}").format(sql.Literal(comment))
    with postgres.connect(admin) as connection:
        connection.execute(statement)


def _admin_url(settings: Settings) -> str:
    return f"postgresql://millrace@127.0.0.1:{settings.port('postgres')}/postgres"


def _binary_folders() -> list[Path]:
    """Return the folders in which Debian keeps PostgreSQL's programs, newest version first."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(found, key=lambda path: int(path.parent.name), reverse=True)


def _prepare(settings: Settings, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(folder, database_user(), database_user())
    data = folder / "data"
    if not (data / "PG_VERSION").exists():
        _initialise(settings, folder, data)
    (data / "postgresql.auto.conf").touch()
    _write(data / "postgresql.conf", CONFIGURATION.format(port=settings.port("postgres")))
    _write(data / "pg_hba.conf", ACCESS)


def _initialise(settings: Settings, folder: Path, data: Path) -> None:
    """Run initdb beside its place and move it there, so that an interruption leaves nothing."""
    fresh = folder / "data.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    password = folder / "password"
    _write(password, settings.postgres_password.get_secret_value())
    initdb = find_program("initdb", *_binary_folders(), package="postgresql")
    options = ["--username=millrace", f"--pwfile={password}", "--auth=scram-sha-256"]
    options += ["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync"]
    try:
        complete(
            unprivileged([initdb, "-D", str(fresh), *options], settings.home),
            f"initdb could not make {data}",
            cwd=folder,
        )
    finally:
        password.unlink()
    fresh.rename(data)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(path, database_user(), database_user())
