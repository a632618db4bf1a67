"""Restore metadata and warehouse, into the embedded stack or into servers elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from confluent_kafka import KafkaException
from minio import Minio
from psycopg.rows import DictRow

from millrace import processes
from millrace.alerts import repository as alerts
from millrace.alerts.grouping import Group
from millrace.backups import (
    archiver,
    catalogue,
    erasure,
    gateway,
    metadata,
    receipts,
    restore,
    timelines,
    wal,
)
from millrace.backups.erasure import Order
from millrace.backups.gateway import BackupError
from millrace.backups.metadata import Base
from millrace.exports import erasure as exported
from millrace.exports import reconcile
from millrace.exports.writer import Exporter
from millrace.rules import replay
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import postgres
from millrace.stores.errors import first_line
from millrace.usecases import prove_rollups, restore_outlook

SECONDS_FOR_THE_LAST = 15.0
"""How long what was committed last may take to reach the archive before its server is stopped."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is restored: a backup (the newest if none is named), or the state of a moment (UTC).

    ``only`` is ``"warehouse"`` or ``"metadata"``; empty, both are restored.
    ``data`` is an empty folder for PostgreSQL where it is not the embedded one; ``is_replace``
    lets what the targets hold go.
    """

    backup_id: str = ""
    to: datetime | None = None
    only: str = ""
    data: Path | None = None
    is_replace: bool = False
    is_dry_run: bool = False


def run(request: Request, say: Say) -> None:
    """Restore what is asked for; ``say`` is told what would be done, and what was.

    People who were erased since are erased again before anybody can read what is restored, and the
    catalogue of exports learns from the bucket. Ingest then goes on from Kafka by itself. Raises
    ``BackupError`` when a part is missing or wrong, or a target holds something.
    """
    stack = _embedded()
    client = gateway.ensure_folders(stack.settings)
    orders = receipts.read(client)
    lost: list[Order] = []
    if not request.only:  # neither is replaced if the other can't be
        catalogue.check_objects(client, catalogue.choose(client, request.backup_id, request.to))
    if request.only != "warehouse":
        base = metadata.choose(client, request.to)
        say(f"PostgreSQL: {base.backup_id}, then the log to {request.to or 'its end'}")
        if request.is_dry_run:
            for line in restore_outlook.of_metadata(stack.settings, request.to):
                say(line)
        else:
            lost = _restore_metadata(stack, base, request, say)
    if request.only != "metadata":
        _ensure_serving(stack, "clickhouse")
        _restore_warehouse(stack, client, request, orders, say)
    elif lost:
        _ensure_serving(stack, "clickhouse")
        erasure.carry_out_in_postgres(stack.settings, lost)
    if request.is_dry_run:
        for line in restore_outlook.of_exports(stack.settings):
            say(line)
    elif request.data is None:
        _reconcile(stack.settings, lost, say)


def catch_up(settings: Settings, say: Say) -> None:
    """Bring a restored PostgreSQL that is served elsewhere into line with what was not restored."""
    orders = receipts.read(gateway.ensure_folders(settings))
    metadata.migrate(settings)
    with postgres.connect(settings) as connection:
        lost = receipts.put_back(connection, orders)
    if lost:
        erasure.carry_out(settings, lost)
    _reconcile(settings, lost, say)


def _reconcile(settings: Settings, lost: list[Order], say: Say) -> None:
    """Bring into line what is in neither store, and complete the erasures that were lost."""
    with Exporter(settings) as exporter:
        for line in reconcile.reconcile(exporter):
            say(f"exports: {line}")
    if lost:
        exported.erase(settings, [one.user_id for one in lost])
        receipts.keep(settings, [erasure.complete(settings, one, one.receipt) for one in lost])
        say(f"{len(lost)} people who had been erased since were erased again")
    try:
        replay.skip_numbers(settings)
    except KafkaException as error:
        say(
            f"Kafka does not answer ({first_line(error)}), so the next replays could take numbers "
            "that were given before; once it runs: ./millrace backups catch-up"
        )


def _restore_warehouse(
    stack: Stack, client: Minio, request: Request, orders: list[Order], say: Say
) -> None:
    entry = catalogue.choose(client, request.backup_id, request.to)
    for line in restore.plan(stack.settings, entry):
        say(line)
    if again := receipts.since(orders, datetime.fromisoformat(entry.cut_at)):
        numbers = ", ".join(str(one.erasure_id) for one in again)
        say(f"erasures since that moment, which are carried out before anybody reads: {numbers}")
    if request.is_dry_run:
        for line in restore_outlook.of_kafka(stack.settings, entry.positions):
            say(line)
    else:
        half = entry.details.get("half_published", [])
        done = restore.restore(
            stack.settings,
            entry,
            is_replace=request.is_replace,
            prove=lambda: prove_rollups.prove(stack.settings, half, say),
        )
        say(
            f"restored {done.rows:,} rows in {done.restore_seconds:.1f} s, compared every value in "
            f"{done.check_seconds:.1f} s"
        )


def _embedded() -> Stack:
    """Return the embedded stack with the store of backups serving, whatever else was lost."""
    stack = Stack(with_airflow=False)
    if stack.servers and not stack.supervisor.is_running():
        stack.configure()
    for name in ("s3", "backup_gateway"):
        _ensure_serving(stack, name)
    return stack


def _ensure_serving(stack: Stack, name: str) -> None:
    """Have an embedded server serve, on an empty folder where its own is gone."""
    if name not in stack.servers:
        return  # it is a server elsewhere
    try:
        stack.check(name)
    except Exception:  # noqa: BLE001  each client has its own; the server does not serve
        stack.stop(name)
        stack.servers[name].directory.mkdir(parents=True, exist_ok=True)
        stack.start(name)
        stack.wait_healthy(name)


def _restore_metadata(stack: Stack, base: Base, request: Request, say: Say) -> list[Order]:
    """Lay the cluster into ``data``, or into the embedded server's place and start that.

    Returns the orders to erase people that it had lost.
    """
    settings = stack.settings
    lost: list[Order] = []
    if request.data is not None:
        metadata.restore(settings, request.data, base, request.to)
        say(
            f"start PostgreSQL on {request.data}; it recovers, then serves, and "
            f"{metadata.wal_folder(request.data)} can be deleted; then ./millrace backups catch-up "
            "erases again who was erased since, and brings the exports into line"
        )
        return lost
    if "postgres" not in stack.servers:
        raise BackupError(
            "PostgreSQL is a server elsewhere: give an empty folder there with --data"
        )
    place = settings.home / "postgres" / "data"
    if place.exists() and any(place.iterdir()) and not request.is_replace:
        raise BackupError(f"{place} holds a cluster; --replace moves it aside")
    told = _open_incidents(settings)
    with suppress(BackupError, psycopg.OperationalError):  # it may be gone, or the archiver
        wal.await_archived(settings, SECONDS_FOR_THE_LAST)
    stopped_at = datetime.now(UTC)
    for name in ("wal_archiver", "postgres"):
        stack.stop(name)
    try:
        archiver.take_spool(settings)
        # The spool may have held the beginning of a timeline that the base is no part of.
        base = metadata.choose(gateway.connect(settings), request.to)
        fresh = place.with_name("data.restored")
        # Of a restore that did not end; its server ends by itself, but takes its time.
        processes.kill(processes.working_in([fresh]))
        shutil.rmtree(fresh, ignore_errors=True)
        metadata.restore(settings, fresh, base, request.to)
        log = place.with_name("recovery.log")

        def prepare(recovered: psycopg.Connection[DictRow]) -> None:
            # Read while PostgreSQL is down, when nobody can order another.
            orders = receipts.read(gateway.connect(settings))
            lost.extend(receipts.put_back(recovered, orders))
            _put_back_incidents(recovered, told, say)

        reached = metadata.recover(settings, fresh, processes.free_port(), log, prepare)
        shutil.rmtree(metadata.wal_folder(fresh))
        if place.exists():
            place.rename(place.with_name(f"data.before-{stopped_at:%Y%m%dT%H%M%S}"))
        fresh.rename(place)
        timelines.note(gateway.connect(settings), reached.timeline, stopped_at)
        wal.send_beginning(settings, place)
    finally:  # the restored one, or the one that was there
        if place.exists() and any(place.iterdir()):
            stack.start("postgres")
            stack.wait_healthy("postgres", timeout=metadata.START_SECONDS)
            stack.start("wal_archiver")
    last = "none"
    if reached.moment:
        last = f"{reached.moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
    early = "; the archived log ends before the moment asked for" if reached.is_short else ""
    say(f"PostgreSQL serves; the last transaction that was restored: {last}{early}")
    return lost


def _open_incidents(settings: Settings) -> dict[tuple[str, str], Group]:
    """Return the incidents whose receivers wait for their end, where PostgreSQL can still say."""
    with suppress(psycopg.Error), postgres.connect(settings) as connection:
        return alerts.open_incidents(connection)
    return {}


def _put_back_incidents(
    recovered: psycopg.Connection[DictRow], told: dict[tuple[str, str], Group], say: Say
) -> None:
    try:
        forgotten = alerts.put_back_incidents(recovered, told)
    except psycopg.Error as error:  # of another version; no reason to restore nothing
        say(f"the ends of open incidents will not be told: {first_line(error)}")
        return
    if forgotten:
        names = ", ".join(sorted(group.dedup_key for group in forgotten))
        say(f"incidents that were told since, whose ends will be told: {names}")
