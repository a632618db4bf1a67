"""PostgreSQL: base backups, and their restore to the end of the archived log or to a moment.

``pg_basebackup`` and ``pg_receivewal`` are used, and not pgBackRest or barman: they speak the
replication protocol, so they work from wherever Millrace runs and need no access to the server's
disk; pgBackRest 2.45 reaches S3 over TLS only, and barman's archive command is Python, which the
server's own user cannot run on every machine. Encryption is the gateway's.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from minio import Minio
from minio.error import MinioException
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from urllib3.exceptions import HTTPError

from millrace import processes, waiting
from millrace.backups import catalogue, gateway, metrics, segments, timelines, wal
from millrace.backups.gateway import IN_ONE_PIECE, METADATA, BackupError
from millrace.settings import REPOSITORY, Settings
from millrace.stores import objects as store
from millrace.stores import postgres, sql
from millrace.stores.errors import first_line
from millrace.stores.migrations import EditedMigrationError

FOLDER = "base"
START_SECONDS = 600
ENDED_EARLY = "recovery ended before configured recovery target was reached"
_RECOVERY = re.compile(r"(restore_command|recovery_target\w*|hot_standby)\s*=")
"""What an earlier restore left in the cluster's configuration."""


@dataclass(frozen=True)
class Base:
    """A base backup; it can be restored to any moment from ``ended_at`` on.

    ``timeline`` and ``position`` say where in the log it ended; those of older versions don't.
    """

    backup_id: str
    started_at: str
    ended_at: str
    byte_count: int
    millrace: str
    timeline: int = 0
    position: int = 0


@dataclass(frozen=True)
class Recovered:
    """What a recovery reached; ``moment`` is that of the last transaction, if there was any."""

    timeline: int
    moment: datetime | None
    is_short: bool
    """Whether the archived log ends before the moment that was asked for."""


def back_up(settings: Settings, requested_by: str) -> Base:
    """Stream a base backup of the whole cluster to the bucket, and the state that lives in files.

    Raises ``BackupError`` with pg_basebackup's words when it fails; then nothing is catalogued.
    """
    store.ensure_buckets(settings)
    objects = gateway.ensure_folders(settings)
    with catalogue.alone(settings) as connection:
        started_at = datetime.now(UTC)
        backup_id = _stamp(started_at) + "-metadata"
        connection.execute(
            "INSERT INTO backups (backup_id, kind, requested_by) VALUES (%s, 'metadata', %s)",
            [backup_id, requested_by],
        )
        try:
            size = _stream(settings, objects, f"{FOLDER}/{backup_id}.tar.gz", backup_id)
            _put_files(settings, objects, f"{FOLDER}/{backup_id}.files.tar.gz")
            end = connection.execute(sql.render("postgres/backups/log_position.sql")).fetchall()[0]
            base = Base(
                backup_id,
                started_at.isoformat(),
                datetime.now(UTC).isoformat(),
                size,
                version("millrace"),
                **end,
            )
            data = json.dumps(asdict(base), indent=2).encode()
            objects.put_object(METADATA, f"{FOLDER}/{backup_id}.json", BytesIO(data), len(data))
        except Exception as error:
            connection.execute(
                sql.render("postgres/backups/fail_backup.sql"),
                [str(error)[:4000], backup_id],
            )
            raise
        connection.execute(
            sql.render("postgres/backups/complete_base_backup.sql"),
            [size, Jsonb({"millrace": base.millrace}), backup_id],
        )
    gateway.copy_to_second_bucket(settings)
    metrics.succeeded(settings, "metadata")
    return base


def _stream(settings: Settings, objects: Minio, key: str, label: str) -> int:
    arguments, environment = wal.connection_options(settings)
    command = [
        wal.program("pg_basebackup"), *arguments, "-D", "-", "-F", "tar", "-X", "fetch",
        "--compress=client-gzip:1", "--checkpoint=fast", "--manifest-checksums=SHA256",
        f"--label={label}",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=words)
        assert process.stdout is not None  # noqa: S101  it is a pipe
        try:
            size = gateway.put_stream(settings, process.stdout, f"{METADATA}/{key}")
        finally:
            process.stdout.close()
            code = process.wait()
        if code:
            objects.remove_object(METADATA, key)
            words.seek(0)
            raise BackupError(f"pg_basebackup: {words.read().decode().strip()}")
    return size


def _put_files(settings: Settings, objects: Minio, key: str) -> None:
    """Store configuration and the state of dbt and Great Expectations; never the secrets."""
    places = {
        "millrace.toml": settings.home / "millrace.toml",
        "dbt": settings.home / "dbt",
        "expectations": settings.home / "expectations",
        "repository/dbt/target": REPOSITORY / "dbt" / "target",
        "repository/expectations": REPOSITORY / "expectations",
    }
    data = BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", compresslevel=1) as archive:
        for name, path in places.items():
            if path.exists():
                archive.add(path, name)
    data.seek(0)
    objects.put_object(METADATA, key, data, data.getbuffer().nbytes, part_size=IN_ONE_PIECE)


def ids(objects: Minio) -> list[str]:
    """Return the ids of the complete base backups in the bucket, oldest first."""
    names = [item.object_name for item in objects.list_objects(METADATA, f"{FOLDER}/")]
    return sorted(
        name.removeprefix(f"{FOLDER}/").removesuffix(".json")
        for name in names
        if name.endswith(".json")
    )


def is_begun_since(objects: Minio, moment: datetime) -> bool:
    """Whether the newest complete base backup in the bucket was begun after a moment."""
    return any(name > _stamp(moment) for name in ids(objects)[-1:])


def _stamp(moment: datetime) -> str:
    """Return how the name of a base backup begins: with the moment of its beginning."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%S%f}"[:-3]


def bases(objects: Minio) -> list[Base]:
    """Return the complete base backups in the bucket, oldest first.

    Raises ``BackupError`` naming one whose description is damaged.
    """
    found = []
    for backup_id in ids(objects):
        key = f"{FOLDER}/{backup_id}.json"
        try:
            found.append(Base(**json.loads(objects.get_object(METADATA, key).read())))
        except (MinioException, HTTPError, ValueError, TypeError) as error:
            raise BackupError(
                f"{METADATA}/{key} is damaged ({error}): put it back from the second bucket, or "
                "delete it, and the base backup before it is taken"
            ) from error
    return found


def choose(objects: Minio, to: datetime | None = None) -> Base:
    """Return the newest base backup that leads to ``to``, or to the newest state.

    Raises ``BackupError`` if there is none, or ``to`` is still to come.
    """
    if to and to > datetime.now(UTC):
        raise BackupError(f"{to:%Y-%m-%d %H:%M:%S} UTC is still to come; name a moment that was")
    wanted = timelines.at(objects, to)
    for base in reversed(bases(objects)):
        ended_at = datetime.fromisoformat(base.ended_at)
        if to and ended_at > to:
            continue
        number = base.timeline or timelines.at(objects, ended_at).number
        if wanted.holds(number, base.position or sys.maxsize):
            return base
    raise BackupError(
        f"no base backup of PostgreSQL {f'ended by {to}' if to else 'exists'}; "
        "./millrace backups list shows what there is, ./millrace backups run makes one"
    )


def restore(settings: Settings, data: Path, base: Base, to: datetime | None = None) -> None:
    """Lay a cluster into the empty folder ``data``, ready to recover when it is started.

    It recovers to ``to`` on the timeline that served then, or to the end of the archived log, which
    is put beside it (``wal_folder``). Every file is checked against the base backup's manifest.
    Raises ``BackupError`` when the folder is not empty or a file is wrong.
    """
    if data.exists() and any(data.iterdir()):
        raise BackupError(f"{data} is not empty; move it away first")
    objects = gateway.connect(settings)
    data.mkdir(parents=True, exist_ok=True)
    key = f"{FOLDER}/{base.backup_id}.tar.gz"
    try:
        reply = objects.get_object(METADATA, key)
        with tarfile.open(fileobj=reply, mode="r|gz") as archive:
            archive.extractall(data, filter="data")
    except (MinioException, HTTPError, OSError, EOFError, tarfile.TarError) as error:
        raise BackupError(f"{base.backup_id} can't be read ({error}); use an older one") from error
    data.chmod(0o700)
    checked = subprocess.run(
        [wal.program("pg_verifybackup"), "--quiet", "--no-parse-wal", str(data)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if checked.returncode:
        raise BackupError(f"{base.backup_id} came back wrong: {checked.stderr.strip()}")
    folder = wal_folder(data)
    _fetch_wal(objects, folder, _start_segment(data))
    lines = [
        f'restore_command = \'cp "{folder}/%f" "%p"\'',
        f"recovery_target_timeline = {timelines.at(objects, to).number}",
        "hot_standby = off",  # it serves once it is recovered, not before
    ]
    if to:
        lines += [
            f"recovery_target_time = '{to.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'",
            "recovery_target_action = promote",
        ]
    _configure(data, lines)
    (data / "recovery.signal").touch()
    if os.geteuid() == 0:
        owner = processes.database_user()
        for path in (data, *data.rglob("*"), folder, *folder.iterdir()):
            shutil.chown(path, owner, owner)


def _configure(data: Path, lines: list[str], replaced: re.Pattern[str] = _RECOVERY) -> None:
    """Write settings into a cluster's configuration in place of those that match a pattern."""
    settled = data / "postgresql.auto.conf"
    kept = [line for line in settled.read_text().splitlines() if not replaced.match(line)]
    settled.write_text("\n".join([*kept, *lines, ""]))


Prepare = Callable[[psycopg.Connection[DictRow]], None]
"""What is done to a recovered cluster, of the newest schema, before anybody else can reach it."""


def recover(settings: Settings, data: Path, port: int, log: Path, prepare: Prepare) -> Recovered:
    """Start a restored cluster on a private port until it is recovered, and say what it reached.

    It is brought to the newest schema then, since a moment of before an upgrade has an older one;
    and ``prepare`` is called, before it serves at its place. A log that ends before the moment
    asked for is replayed to its end. Raises ``BackupError`` with PostgreSQL's last words when it
    does not recover.
    """
    log.unlink(missing_ok=True)
    try:
        return _recover(settings, data, port, log, prepare, is_short=False)
    except BackupError:
        if ENDED_EARLY not in log.read_text(errors="replace"):
            raise
    _configure(data, [], re.compile(r"recovery_target_(time|action)\s*="))
    return _recover(settings, data, port, log, prepare, is_short=True)


def _recover(
    settings: Settings, data: Path, port: int, log: Path, prepare: Prepare, *, is_short: bool
) -> Recovered:
    parts = urlsplit(settings.postgres_url)
    url = urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}"))
    private = settings.model_copy(update={"postgres_url": url})
    with running(data, port, log), postgres.connect(private) as connection:
        row = connection.execute(sql.render("postgres/backups/recovered.sql")).fetchall()[0]
        migrate(private)
        prepare(connection)
    return Recovered(row["timeline"], row["moment"], is_short)


def migrate(settings: Settings) -> None:
    """Bring a restored PostgreSQL to the newest schema: one of before an upgrade has an older one.

    Raises ``BackupError`` when it is of a newer version.
    """
    from alembic.script.revision import RevisionError  # as slow as what it migrates with
    from alembic.util import CommandError

    try:
        postgres.migrate(settings)
    except (CommandError, RevisionError, EditedMigrationError) as error:
        raise BackupError(
            f"what was restored does not go with this version of Millrace: {first_line(error)}"
        ) from error


def wal_folder(data: Path) -> Path:
    """Return where the archived log lies while ``data`` recovers; then it can be deleted."""
    return data.with_name(f"{data.name}.wal")


def _start_segment(data: Path) -> str:
    """Return the name of the first log segment that the base backup needs."""
    for line in (data / "backup_label").read_text().splitlines():
        if line.startswith("START WAL LOCATION"):
            return line.rpartition("file ")[2].rstrip(")")
    raise BackupError(f"{data}/backup_label names no log segment; the base backup is damaged")


def _fetch_wal(objects: Minio, folder: Path, first: str) -> None:
    """Bring the archived log from ``first`` on; the unfinished segment counts where it ends."""
    folder.mkdir(exist_ok=True)
    names = {
        item.object_name.removeprefix(f"{segments.FOLDER}/").removesuffix(".gz")
        for item in objects.list_objects(METADATA, f"{segments.FOLDER}/", recursive=True)
    }
    for name in sorted(names):
        whole = name.removesuffix(".partial")
        if name != whole and whole in names:
            continue
        if not name.endswith(".history") and whole[8:] < first[8:]:
            continue
        data = objects.get_object(METADATA, f"{segments.FOLDER}/{name}.gz").read()
        (folder / whole).write_bytes(gzip.decompress(data))


@contextmanager
def running(data: Path, port: int, log: Path) -> Iterator[None]:
    """Run a restored cluster on a private port of loopback, for the length of a ``with``.

    It does not outlive this process, even where that is killed.
    """
    own = ["listen_addresses=127.0.0.1", "unix_socket_directories="]
    own += ["wal_keep_size=1GB"]  # what it writes is yet to be archived
    options = [f"-p{port}", *(f"-c{setting}" for setting in own)]
    serve = [wal.program("postgres"), "-D", str(data), *options]
    fast = signal.SIGINT  # open transactions are rolled back
    with processes.running(
        serve, log, folder=data, is_unprivileged=True, stop_signal=fast
    ) as server:
        _await_recovered(server, port, log)
        yield


def _await_recovered(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the log is replayed: nobody may connect before."""
    ready = [wal.program("pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={port}"]

    def is_ready() -> bool:
        if server.poll() is not None:
            raise BackupError(f"the restored PostgreSQL ended while it recovered: {_tail(log)}")
        return subprocess.run(ready, check=False).returncode == 0

    waiting.until(
        is_ready,
        "the restored PostgreSQL to recover",
        seconds=START_SECONDS,
        hint=lambda: _tail(log),
        error=BackupError,
    )


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-10:])
