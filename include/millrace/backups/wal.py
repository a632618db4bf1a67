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

import psycopg
from minio import Minio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow

from millrace import processes, waiting
from millrace.backups import gateway, metrics, timelines
from millrace.backups.gateway import METADATA, BackupError
from millrace.settings import Settings
from millrace.stores import postgres, sql
from millrace.stores.errors import first_line

log = logging.getLogger(__name__)

FOLDER = "wal"
SLOT = "millrace_wal_archive"
STALE_SECONDS = 60.0
"""So long ago the bucket last got a piece, at the most, while the archiver works."""
TELL_SECONDS = 60.0
"""How often the metric says up to which moment the archive is whole."""
SEGMENT_BYTES = 16 << 20
"""The size of a file of the log: PostgreSQL's own, which no one changes but with ``initdb``."""
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
    said = _refused_slot(settings) or _refused_receiver(settings)
    return said and (
        f"PostgreSQL lets nobody receive its log: {said}. Its "
        "backups need a role with REPLICATION, an entry for replication in pg_hba.conf, "
        "wal_level=replica and a free replication slot"
    )


def _refused_slot(settings: Settings) -> str:
    """Have PostgreSQL keep its log from now on, unless it does; return why it does not.

    ``pg_receivewal`` makes slots that keep nothing before somebody has begun to receive, and then
    PostgreSQL may have removed what he begins with.
    """
    try:
        with postgres.connect(settings) as connection:
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
        if _is_log(path) and path.name <= last:
            _send(objects, path, f"{last}.partial" if path.name == last else path.name)


def take_spool(settings: Settings) -> None:
    """Bring what a stopped archiver still holds into the bucket, and empty its spool.

    So a PostgreSQL that is lost alone loses nothing: what was received is restored too.
    """
    archiver = Archiver(settings)
    if archiver.spool.exists():
        archiver.send_rest()
        shutil.rmtree(archiver.spool)
    archiver.spool.mkdir(parents=True)


def _send(objects: Minio, path: Path, name: str = "") -> None:
    data = gzip.compress(path.read_bytes(), 1)
    key = f"{FOLDER}/{name or path.name}.gz"
    objects.put_object(METADATA, key, io.BytesIO(data), len(data), part_size=gateway.IN_ONE_PIECE)


def _is_log(path: Path) -> bool:
    if path.suffix == ".partial" and not _is_ready(path):
        return False
    return _SEGMENT.fullmatch(path.name.removesuffix(".partial")) is not None


def _is_ready(unfinished: Path) -> bool:
    """Whether the receiver has filled a new file with zeros, as it does before it writes to it."""
    try:
        return unfinished.stat().st_size == SEGMENT_BYTES
    except FileNotFoundError:  # it is finished, and has another name
        return False


def _is_segment(path: Path) -> bool:
    return _is_log(path) and path.suffix != ".history"


def _number(segment: str) -> int:
    """Return which segment of the log a file has, whatever its timeline."""
    return (int(segment[8:16], 16) << 32) // SEGMENT_BYTES + int(segment[16:24], 16)


def _position(byte: int) -> str:
    """Return a position in the log as PostgreSQL writes it."""
    return f"{byte >> 32:X}/{byte & 0xFFFFFFFF:X}"


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
        self._prepare_spool()
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

    def _prepare_spool(self) -> None:
        """Remove what would keep the receiver from beginning.

        That is a file that was not ready when the receiver was killed or the disk was full, in
        which nothing is; and, where PostgreSQL no longer has what comes next, all that the spool
        holds, once it is in the bucket: the receiver begins with what PostgreSQL has, then.
        """
        for path in self.spool.glob("*.partial"):
            if not _is_ready(path):
                log.warning("%s was never ready for the log: it is removed", path)
                path.unlink()
        files = {path: path.name for path in self.spool.iterdir() if _is_segment(path)}
        if not files:
            return
        wanted = max(_number(name) + (not name.endswith(".partial")) for name in files.values())
        with postgres.connect(self.settings) as connection:
            kept = postgres.one(
                connection.execute(sql.render("postgres/backups/kept_log.sql"), {"slot": SLOT})
            )["kept_from"]
        if wanted >= kept // SEGMENT_BYTES:
            return
        self.send_rest()
        for path in files:
            path.unlink()
        log.error(
            "PostgreSQL no longer has its log from %s on, which was not received: what it held "
            "between then and its next base backup can't be restored. Make one now: "
            "./millrace backups run",
            _position(wanted * SEGMENT_BYTES),
        )

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.is_stopping = True

    def send_rest(self) -> int:
        """Send all that the spool holds, asking nothing of the server, which may be gone.

        Returns how many files that were; they stay.
        """
        rest = [path for path in sorted(self.spool.iterdir()) if _is_log(path)]
        for path in rest:
            _send(self.objects, path)
        return len(rest)

    def ship(self) -> None:
        """Send finished segments, then the unfinished one if it grew and its time has come."""
        for path in sorted(self.spool.iterdir()):
            if _SEGMENT.fullmatch(path.name):
                _send(self.objects, path)
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
        partials = sorted(path for path in self.spool.glob("*.partial") if _is_ready(path))
        positions = self._positions()
        if positions is None:
            return  # the receiver has not begun
        received, written = positions
        if any(_SEGMENT.fullmatch(path.name) for path in self.spool.iterdir()):
            return  # finished meanwhile: it is sent first, so that the archive has no hole
        for path in partials:
            if (path.name, received) == self._partial:
                continue
            try:
                _send(self.objects, path)
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

    def _record(self, segment: str, position: int | None) -> None:
        """Note in PostgreSQL how far the archive reaches; writes nothing if nothing moved."""
        if segment.endswith(".history"):
            return
        if position is None:
            position = (_number(segment) + 1) * SEGMENT_BYTES
        with postgres.connect(self.settings) as connection:
            connection.execute(
                sql.render("postgres/backups/note_archived.sql"),
                [position],
            )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    Archiver(Settings()).run()
