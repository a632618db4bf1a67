"""Continuous archiving of PostgreSQL's write-ahead log to the bucket.

``pg_receivewal`` streams the log into a spool folder; this process ships finished segments, and
the unfinished one every few seconds, compressed, through the encrypting gateway. Where PostgreSQL
has removed log that was not received, the archive has a hole: that is noted in the bucket, beside
the log, and the metric of the archive stands still until a base backup was begun after it.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from types import FrameType

from minio import Minio

from millrace import processes
from millrace.backups import gateway, metadata, metrics, segments, timelines, wal
from millrace.backups.gateway import METADATA, BackupError
from millrace.settings import Settings
from millrace.stores import postgres, sql

log = logging.getLogger(__name__)

TELL_SECONDS = 60.0
"""How often the metric says up to which moment the archive is whole."""
HOLE = "log-hole.json"
"""When it was found last that the archived log lacks a piece."""


def take_spool(settings: Settings) -> None:
    """Bring what a stopped archiver still holds into the bucket, and empty its spool.

    So a PostgreSQL that is lost alone loses nothing: what was received is restored too.
    """
    archiver = Archiver(settings)
    if archiver.spool.exists():
        archiver.send_rest()
        shutil.rmtree(archiver.spool)
    archiver.spool.mkdir(parents=True)


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
        if reason := wal.refusal(self.settings):
            raise BackupError(reason)
        for number in (signal.SIGTERM, signal.SIGINT):  # until now there was nothing to finish
            signal.signal(number, self._stop)
        self._prepare_spool()
        arguments, environment = wal.connection_options(self.settings)
        receive = [wal.program("pg_receivewal"), *arguments, "--slot", wal.SLOT]
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
            if not segments.is_ready(path):
                log.warning("%s was never ready for the log: it is removed", path)
                path.unlink()
        files = {path: path.name for path in self.spool.iterdir() if segments.is_segment(path)}
        if not files:
            return
        wanted = max(
            segments.number(name) + (not name.endswith(".partial")) for name in files.values()
        )
        with postgres.connect(self.settings) as connection:
            kept = postgres.one(
                connection.execute(sql.render("postgres/backups/kept_log.sql"), {"slot": wal.SLOT})
            )["kept_from"]
        if wanted >= kept // segments.SIZE:
            return
        self.send_rest()
        _note_hole(self.objects)
        for path in files:
            path.unlink()
        log.error(
            "PostgreSQL no longer has its log from %s on, which was not received: what it held "
            "between then and its next base backup can't be restored. Make one now: "
            "./millrace backups run",
            segments.position(wanted * segments.SIZE),
        )

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.is_stopping = True

    def send_rest(self) -> int:
        """Send all that the spool holds, asking nothing of the server, which may be gone.

        Returns how many files that were; they stay.
        """
        rest = [path for path in sorted(self.spool.iterdir()) if segments.is_log(path)]
        for path in rest:
            segments.send(self.objects, path)
        return len(rest)

    def ship(self) -> None:
        """Send finished segments, then the unfinished one if it grew and its time has come."""
        for path in sorted(self.spool.iterdir()):
            if segments.is_finished(path):
                segments.send(self.objects, path)
                if path.suffix == ".history":
                    timelines.note(self.objects, int(path.stem, 16), datetime.now(UTC))
                path.unlink()
                self._record(path.name, None)
        if time.monotonic() - self._shipped_partial_at >= self.settings.backup_log_seconds:
            self._ship_partial()
            self._tell()

    def _ship_partial(self) -> None:
        partials = sorted(path for path in self.spool.glob("*.partial") if segments.is_ready(path))
        positions = self._positions()
        if positions is None:
            return  # the receiver has not begun
        received, written = positions
        if any(segments.is_finished(path) for path in self.spool.iterdir()):
            return  # finished meanwhile: it is sent first, so that the archive has no hole
        for path in partials:
            if (path.name, received) == self._partial:
                continue
            try:
                segments.send(self.objects, path)
            except FileNotFoundError:
                return  # the receiver has finished it meanwhile; it is sent whole
            self._record(path.name.removesuffix(".partial"), received)
            self._partial = (path.name, received)
        if received >= self._written[0]:
            self._whole_at = self._written[1]
        self._written = (written, datetime.now(UTC))
        self._shipped_partial_at = time.monotonic()

    def _tell(self) -> None:
        """Say up to which moment the archive is whole, unless that was said a while ago."""
        is_due = time.monotonic() - self._told_at >= TELL_SECONDS
        if self._whole_at and is_due and is_whole(self.objects):
            metrics.succeeded(self.settings, "wal", self._whole_at)
            self._told_at = time.monotonic()

    def _positions(self) -> tuple[int, int] | None:
        """Return how far the receiver has the log on disk, and how far the server has written it.

        ``None`` before the receiver has begun.
        """
        with postgres.connect(self.settings) as connection:
            row = connection.execute(
                sql.render("postgres/backups/wal_positions.sql"), {"slot": wal.SLOT}
            ).fetchone()
        if row is None or row["received"] is None:
            return None
        return int(row["received"]), int(row["written"])

    def _record(self, segment: str, position: int | None) -> None:
        """Note in PostgreSQL how far the archive reaches; writes nothing if nothing moved."""
        if segment.endswith(".history"):
            return
        if position is None:
            position = (segments.number(segment) + 1) * segments.SIZE
        with postgres.connect(self.settings) as connection:
            connection.execute(
                sql.render("postgres/backups/note_archived.sql"),
                [position],
            )


def _note_hole(objects: Minio) -> None:
    data = json.dumps({"found_at": datetime.now(UTC).isoformat()}).encode()
    objects.put_object(METADATA, HOLE, io.BytesIO(data), len(data))


def is_whole(objects: Minio) -> bool:
    """Whether the archived log leads from a base backup to now: it has no hole since the newest."""
    if not any(objects.list_objects(METADATA, HOLE)):
        return True
    found = json.loads(objects.get_object(METADATA, HOLE).read())
    return metadata.is_begun_since(objects, datetime.fromisoformat(found["found_at"]))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    Archiver(Settings()).run()
