"""PostgreSQL's write-ahead log on its way to the bucket: who receives it, how far it came.

PostgreSQL's own ``pg_receivewal`` streams the log over the replication protocol, so nothing in the
server's configuration changes and it may run anywhere. The replication slot makes the server keep
what was not received yet. ``millrace.backups.archiver`` does the work.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow

from millrace import waiting
from millrace.backups import gateway, segments
from millrace.backups.gateway import BackupError
from millrace.contract import locks
from millrace.settings import Settings
from millrace.stores import postgres, sql
from millrace.stores.errors import first_line

SLOT = "millrace_wal_archive"
STALE_SECONDS = 60.0
"""So long ago the bucket last got a piece, at the most, while the archiver works."""


def program(name: str) -> str:
    """Return the path of a PostgreSQL program; raises ``BackupError`` when it is not installed."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True
    )
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        raise BackupError(f"{name} is not installed: apt-get install postgresql")
    return found


def connection_options(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """Return arguments and environment with which PostgreSQL's programs reach the server.

    The password is in the environment alone: everybody sees arguments.
    """
    known = conninfo_to_dict(postgres.dsn(settings))
    password = str(known.pop("password", ""))
    known.pop("dbname", None)  # the replication protocol is for all databases
    return ["-d", make_conninfo("", **known), "-w"], {**os.environ, "PGPASSWORD": password}


def refusal(settings: Settings) -> str:
    """Return why PostgreSQL lets nobody receive its log; nothing where it does.

    Its replication slot is there then, and the server keeps what was not received yet. Raises
    ``BackupError`` when PostgreSQL's programs are not installed.
    """
    said = _refused_size(settings) or _refused_slot(settings) or _refused_receiver(settings)
    return said and (
        f"PostgreSQL lets nobody receive its log: {said}. Its "
        "backups need a role with REPLICATION, an entry for replication in pg_hba.conf, "
        "wal_level=replica, a free replication slot and files of the log of 16 MB"
    )


def _refused_size(settings: Settings) -> str:
    """Return why files of the log can't be told: that is asked before a slot keeps them."""
    try:
        with postgres.connect(settings) as connection:
            row = postgres.one(connection.execute("SHOW wal_segment_size"))
    except psycopg.Error as error:
        return first_line(error)
    size = str(row["wal_segment_size"])
    return "" if size == segments.SIZE_SHOWN else f"its wal_segment_size is {size}"


def _refused_slot(settings: Settings) -> str:
    """Have PostgreSQL keep its log from now on, unless it does; return why it does not.

    ``pg_receivewal`` makes slots that keep nothing before somebody has begun to receive, and then
    PostgreSQL may have removed what he begins with.
    """
    try:
        with (
            postgres.connect(settings) as connection,
            # `up` and the archiver may both ask: one makes the slot, the other finds it.
            locks.alone(connection, locks.LOG_SLOT),
        ):
            connection.execute(sql.render("postgres/backups/drop_lost_slot.sql"), {"slot": SLOT})
            connection.execute(sql.render("postgres/backups/reserve_log.sql"), {"slot": SLOT})
    except psycopg.Error as error:
        return first_line(error)
    return ""


def _refused_receiver(settings: Settings) -> str:
    arguments, environment = connection_options(settings)
    command = [program("pg_receivewal"), *arguments, "--slot", SLOT]
    done = subprocess.run(
        [*command, "--create-slot", "--if-not-exists"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return ""
    said = " ".join(done.stderr.replace("pg_receivewal: error: ", "").split())[-300:]
    return said or f"exit code {done.returncode}"


def await_archived(settings: Settings, limit: float = 60.0) -> float:
    """Return how many seconds a row committed now takes to reach the bucket.

    Raises ``BackupError`` when that is more than ``limit``.
    """
    began = time.monotonic()
    query = "SELECT archived_lsn >= %s::pg_lsn AS is_there FROM wal_archive"
    with postgres.connect(settings) as connection:
        lsn = connection.execute("SELECT pg_current_wal_flush_lsn()::text AS lsn").fetchall()[0]
        waiting.until(
            lambda: any(row["is_there"] for row in connection.execute(query, [lsn["lsn"]])),
            "a row committed now to reach the bucket",
            seconds=limit,
            every=0.2,
            hint=lambda: (
                f"{_progress(connection)}; see the log of wal_archiver "
                "(./millrace backups archive-wal)"
            ),
            error=BackupError,
        )
    return time.monotonic() - began


def _progress(connection: psycopg.Connection[DictRow]) -> str:
    """Say how far the log has come: in PostgreSQL, in the spool and in the bucket."""
    state = connection.execute(
        sql.render("postgres/backups/wal_progress.sql"), {"slot": SLOT}
    ).fetchone()
    if state is None:
        return "nobody has received PostgreSQL's log yet"
    return (
        f"PostgreSQL's log reaches {state['written']}, the receiver has it to {state['received']} "
        f"({state['state']}), the bucket to {state['archived']}"
    )


def check(settings: Settings) -> None:
    """Look, without waiting, whether the log is received and reaches the bucket.

    Raises ``BackupError`` saying which of both does not happen.
    """
    with postgres.connect(settings) as connection:
        state = connection.execute(
            sql.render("postgres/backups/wal_state.sql"), {"slot": SLOT, "seconds": STALE_SECONDS}
        ).fetchone()
    if state is None or not state["is_received"]:
        raise BackupError("PostgreSQL's log is not received")
    if not state["is_archived"]:
        last = f"since {state['archived_at']:%Y-%m-%d %H:%M:%S}" if state["archived_at"] else "yet"
        raise BackupError(f"the bucket has got nothing of PostgreSQL's log {last}")


def send_beginning(settings: Settings, data: Path) -> None:
    """Bring into the bucket what a stopped cluster in ``data`` has written since it was restored.

    That is the beginning of its timeline up to its last checkpoint, from which on the archiver
    receives: where it ends one segment and begins the next, the archive had a hole otherwise.
    """
    done = subprocess.run(
        [program("pg_controldata"), str(data)],
        env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"REDO WAL file:\s+([0-9A-F]{24})", done.stdout)
    if found is None:
        raise BackupError(f"pg_controldata does not say where the log of {data} goes on")
    objects, last = gateway.connect(settings), found[1]
    for path in sorted((data / "pg_wal").glob(f"{last[:8]}*")):
        if segments.is_log(path) and path.name <= last:
            segments.send(objects, path, f"{last}.partial" if path.name == last else path.name)
