"""Continuous archiving of PostgreSQL's write-ahead log to the bucket.

PostgreSQL's own ``pg_receivewal`` streams the log over the replication protocol into a spool
folder, so nothing in the server's configuration changes and it may run anywhere. This process
ships finished segments, and the unfinished one every few seconds, compressed, through the
encrypting gateway. The replication slot makes the server keep what was not received yet.
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import re
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from minio import Minio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from millrace import processes, waiting
from millrace.backups import gateway, metrics, timelines
from millrace.backups.gateway import METADATA, BackupError
from millrace.settings import Settings
from millrace.stores import postgres, sql

log = logging.getLogger(__name__)

FOLDER = "wal"
SLOT = "millrace_wal_archive"
STALE_SECONDS = 60.0
"""So long ago the bucket last got a piece, at the most, while the archiver works."""
TELL_SECONDS = 60.0
"""How often the metric says up to which moment the archive is whole."""
_SEGMENT = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")


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
    arguments, environment = connection_options(settings)
    command = [program("pg_receivewal"), *arguments, "--slot", SLOT]
    done = subprocess.run(
        [*command, "--create-slot", "--if-not-exists"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return ""
    said = " ".join(done.stderr.replace("pg_receivewal: error: ", "").split())[-300:]
    return (
        f"PostgreSQL lets nobody receive its log: {said or f'exit code {done.returncode}'}. Its "
        "backups need a role with REPLICATION, an entry for replication in pg_hba.conf, "
        "wal_level=replica and a free replication slot"
    )


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
            hint="the log in the bucket is behind; see the log of wal_archiver "
            "(./millrace backups archive-wal)",
            error=BackupError,
        )
    return time.monotonic() - began


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


def take_spool(settings: Settings) -> None:
    """Bring what a stopped archiver still holds into the bucket, and empty its spool.

    So a PostgreSQL that is lost alone loses nothing: what was received is restored too.
    """
    archiver = Archiver(settings)
    if archiver.spool.exists():
        archiver.send_rest()
        shutil.rmtree(archiver.spool)
    archiver.spool.mkdir(parents=True)


def _is_log(path: Path) -> bool:
    return _SEGMENT.fullmatch(path.name.removesuffix(".partial")) is not None


class Archiver:
    """Receives and ships until told to stop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.spool = settings.home / "wal"
        self.objects: Minio = gateway.connect(settings)
        self.is_stopping = False
        self._partial: tuple[str, int] = ("", 0)
        self._shipped_partial_at = 0.0
        self._told_at = 0.0
        self._written = (1 << 62, datetime.now(UTC))
        self._whole_at: datetime | None = None

    def run(self) -> None:
        """Archive until SIGTERM or SIGINT.

        Raises ``BackupError`` when the server refuses, or the receiver ends by itself; the
        supervisor then starts this again, and the slot has kept everything.
        """
        self.spool.mkdir(parents=True, exist_ok=True)
        gateway.ensure_folders(self.settings)
        if reason := refusal(self.settings):
            raise BackupError(reason)
        for number in (signal.SIGTERM, signal.SIGINT):  # until now there was nothing to finish
            signal.signal(number, self._stop)
        arguments, environment = connection_options(self.settings)
        receive = [program("pg_receivewal"), *arguments, "--slot", SLOT]
        receive += ["-D", str(self.spool), "--synchronous", "--no-loop"]
        # One that lived on would keep the slot to itself.
        receiver = subprocess.Popen(processes.ending_with_parent(receive), env=environment)
        try:
            while not self.is_stopping:
                self.ship()
                if receiver.poll() is not None:
                    raise BackupError(f"pg_receivewal ended with {receiver.returncode}")
                time.sleep(1)
        finally:
            receiver.terminate()
            receiver.wait(10)
            self.send_rest()

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.is_stopping = True

    def send_rest(self) -> int:
        """Send all that the spool holds, asking nothing of the server, which may be gone.

        Returns how many files that were; they stay.
        """
        rest = [path for path in sorted(self.spool.iterdir()) if _is_log(path)]
        for path in rest:
            self._send(path, path.name)
        return len(rest)

    def ship(self) -> None:
        """Send finished segments, then the unfinished one if it grew and its time has come."""
        for path in sorted(self.spool.iterdir()):
            if _SEGMENT.fullmatch(path.name):
                self._send(path, path.name)
                if path.suffix == ".history":
                    timelines.note(self.objects, int(path.stem, 16), datetime.now(UTC))
                path.unlink()
                self._record(path.name, None)
        if time.monotonic() - self._shipped_partial_at >= self.settings.backup_log_seconds:
            self._ship_partial()
        if self._whole_at and time.monotonic() - self._told_at >= TELL_SECONDS:
            metrics.succeeded(self.settings, "wal", self._whole_at)
            self._told_at = time.monotonic()

    def _ship_partial(self) -> None:
        positions = self._positions()
        if positions is None:
            return  # the receiver has not begun
        received, written = positions
        if any(_SEGMENT.fullmatch(path.name) for path in self.spool.iterdir()):
            return  # finished meanwhile: it is sent first, so that the archive has no hole
        for path in sorted(self.spool.glob("*.partial")):
            if (path.name, received) == self._partial:
                continue
            try:
                self._send(path, path.name)
            except FileNotFoundError:
                return  # the receiver has finished it meanwhile; it is sent whole
            self._record(path.name.removesuffix(".partial"), received)
            self._partial = (path.name, received)
        if received >= self._written[0]:
            self._whole_at = self._written[1]
        self._written = (written, datetime.now(UTC))
        self._shipped_partial_at = time.monotonic()

    def _positions(self) -> tuple[int, int] | None:
        """Return how far the receiver has the log on disk, and how far the server has written it.

        ``None`` before the receiver has begun.
        """
        with postgres.connect(self.settings) as connection:
            row = connection.execute(
                sql.render("postgres/backups/wal_positions.sql"), {"slot": SLOT}
            ).fetchone()
        if row is None or row["received"] is None:
            return None
        return int(row["received"]), int(row["written"])

    def _send(self, path: Path, name: str) -> None:
        data = gzip.compress(path.read_bytes(), 1)
        key = f"{FOLDER}/{name}.gz"
        self.objects.put_object(
            METADATA, key, io.BytesIO(data), len(data), part_size=gateway.IN_ONE_PIECE
        )

    def _record(self, segment: str, position: int | None) -> None:
        """Note in PostgreSQL how far the archive reaches; writes nothing if nothing moved."""
        if segment.endswith(".history"):
            return
        if position is None:
            position = (int(segment[8:16], 16) << 32) + ((int(segment[16:], 16) + 1) << 24)
        with postgres.connect(self.settings) as connection:
            connection.execute(
                sql.render("postgres/backups/note_archived.sql"),
                [position],
            )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    Archiver(Settings()).run()
