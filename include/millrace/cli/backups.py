"""``./millrace backups`` and ``./millrace restore``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from millrace.backups.metadata import Base
    from millrace.ingest.worker import Worker
    from millrace.settings import Settings
    from millrace.stack.stack import Stack

app = typer.Typer(help="Backups of warehouse and metadata.", no_args_is_help=True)


@contextmanager
def _told() -> Iterator[None]:
    """End with one sentence where something can't be done."""
    from millrace.backups.gateway import BackupError

    try:
        yield
    except BackupError as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from error


@app.command("list")
def list_backups() -> None:
    """Show what is in the bucket and can be restored."""
    from rich.console import Console
    from rich.table import Table

    from millrace.backups import catalogue, gateway, metadata
    from millrace.settings import Settings

    table = Table("backup", "state of (UTC)", "rows", "bytes", "stands on")
    with _told():
        client = gateway.ensure_folders(Settings())
        for backup_id in catalogue.ids(client):
            entry = catalogue.get(client, backup_id)
            table.add_row(
                backup_id, entry.cut_at[:19], f"{entry.rows:,}", f"{entry.byte_count:,}",
                entry.base_id or "",
            )  # fmt: skip
        for base in metadata.bases(client):
            table.add_row(base.backup_id, base.ended_at[:19], "", f"{base.byte_count:,}", "")
    Console().print(table)


@app.command()
def run(
    full: Annotated[bool, typer.Option("--full", help="Not on top of an earlier one.")] = False,
) -> None:
    """Back up the warehouse, then PostgreSQL."""
    from millrace.backups import metadata, warehouse
    from millrace.settings import Settings

    settings = Settings()
    with _told():
        entry = warehouse.back_up(settings, "command line", is_full=full or None)
        typer.echo(
            f"{entry.backup_id}: {entry.rows:,} rows, {entry.byte_count:,} bytes; publication "
            f"stood still for {entry.lock_seconds * 1000:.0f} ms"
        )
        base = metadata.back_up(settings, "command line")
        typer.echo(f"{base.backup_id}: {base.byte_count:,} bytes")


@app.command()
def drill() -> None:
    """Restore the newest backups into empty servers, compare them, and resume ingest there."""
    from millrace.backups import drill as drills
    from millrace.settings import Settings

    with _told():
        typer.echo(drills.run(Settings()).text())


@app.command()
def gateway() -> None:
    """Serve the encrypting gateway in front of the backup bucket (runs until stopped)."""
    from millrace.backups import gateway as encrypting
    from millrace.settings import Settings

    with _told():
        encrypting.serve(Settings())


@app.command("archive-wal")
def archive_wal() -> None:
    """Archive PostgreSQL's write-ahead log to the bucket (runs until stopped)."""
    import logging

    from millrace.backups.wal import Archiver
    from millrace.settings import Settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with _told():
        Archiver(Settings()).run()


@app.command("check-archive")
def check_archive(
    limit: Annotated[float, typer.Option(help="Seconds it may take.")] = 45,
) -> None:
    """Say how long a row committed now takes to reach the bucket; fail if it takes too long."""
    from millrace.backups import wal
    from millrace.settings import Settings

    with _told():
        waited = wal.await_archived(Settings(), limit)
    typer.echo(f"in the bucket {waited:.1f} s after the commit")


@app.command("resume-ingest")
def resume_ingest(
    seconds: Annotated[float, typer.Option(help="Give up after so long.")] = 600,
) -> None:
    """Load what Kafka has and a restored warehouse has not, then end."""
    import time
    from concurrent.futures import ThreadPoolExecutor
    from itertools import repeat

    from millrace.backups.gateway import BackupError
    from millrace.ingest.plan import plan
    from millrace.ingest.worker import Share, Worker
    from millrace.settings import Settings

    settings = Settings()
    ends = _ends(settings)
    deadline = time.monotonic() + seconds
    with _told(), ThreadPoolExecutor() as pool:
        for turn in range(1_000_000):
            shares = [Share.from_dict(share) for share in plan(settings, f"resume/{turn}")]
            workers = [Worker(settings, share, f"resume/{turn}") for share in shares]
            length = min(3.0 * (turn + 1), 30.0)
            trouble = "; ".join(filter(None, pool.map(_load, workers, repeat(length))))
            behind = _behind(settings, ends)
            if not behind:
                return
            if time.monotonic() > deadline:
                raise BackupError(
                    f"after {seconds:.0f} s ingest is still behind: {behind}. {trouble}"
                )


def _load(worker: Worker, seconds: float) -> str:
    """Load for a while; return what stood in the way, which the next turn may overcome."""
    from millrace.ingest.model import StalledError

    try:
        worker.run(seconds)
    except StalledError as error:
        return str(error)
    return ""


def _ends(settings: Settings) -> dict[tuple[str, int], int]:
    """Return where each partition of each source ends in Kafka now."""
    from confluent_kafka import TopicPartition

    from millrace.stores import kafka, postgres

    with postgres.connect(settings) as connection:
        rows = connection.execute("SELECT topic, partition FROM ingest_positions").fetchall()
    consumer = kafka.consumer(settings, "millrace.resume")
    try:
        return {
            (row["topic"], row["partition"]): consumer.get_watermark_offsets(
                TopicPartition(row["topic"], row["partition"]), timeout=30
            )[1]
            for row in rows
        }
    finally:
        consumer.close()


def _behind(settings: Settings, ends: dict[tuple[str, int], int]) -> str:
    """Say which partitions have not been loaded up to their ends; empty if all have."""
    from millrace.contract import ledger
    from millrace.stores import postgres

    with postgres.connect(settings) as connection:
        rows = ledger.judged_positions(connection)
    return ", ".join(
        f"{row['topic']}[{row['partition']}] at {row['judged_offset']}"
        for row in rows
        if row["judged_offset"] < ends.get((row["topic"], row["partition"]), 0)
    )


@app.command()
def erase(
    user_id: Annotated[int, typer.Argument(help="Whose data is deleted, everywhere.")],
    reason: Annotated[str, typer.Option(help="Kept on the receipt.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only count.")] = False,
) -> None:
    """Delete a person's data from events, raw data, archive and profiles; print the receipt."""
    import json

    from millrace.backups import erasure
    from millrace.exports import erasure as exported
    from millrace.settings import Settings

    settings = Settings()
    with _told():
        if not yes:
            typer.echo(json.dumps(erasure.find(settings, user_id), indent=2))
            typer.echo("nothing was deleted; --yes deletes")
            return
        files = exported.erase(settings, user_id)
        receipt = erasure.erase(settings, user_id, "command line", reason, files)
    typer.echo(json.dumps(receipt, indent=2))


def restore(
    source: Annotated[str, typer.Option("--from", help="A backup; newest if not given.")] = "",
    to: Annotated[str, typer.Option(help="A moment, such as 2026-11-21T07:30 (UTC).")] = "",
    only: Annotated[str, typer.Option(help="warehouse or metadata; both if not given.")] = "",
    data: Annotated[
        Path | None, typer.Option(help="Empty folder for PostgreSQL; none: the embedded one.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Drop what the target holds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
) -> None:
    """Restore metadata and warehouse; ingest then goes on from Kafka by itself."""
    from millrace.backups import catalogue, metadata
    from millrace.backups import gateway as encrypting
    from millrace.backups import restore as warehouse

    if only not in ("", "warehouse", "metadata"):
        raise typer.BadParameter("warehouse or metadata", param_hint="--only")
    with _told():
        moment = _moment(to)
        stack = _embedded()
        settings = stack.settings
        client = encrypting.ensure_folders(settings)
        if only != "warehouse":
            base = metadata.choose(client, moment)
            typer.echo(f"PostgreSQL: {base.backup_id}, then the log to {moment or 'its end'}")
            if not dry_run:
                _restore_metadata(stack, base, moment, data, is_replace=replace)
        if only != "metadata":
            _see_to(stack, "clickhouse")
            entry = catalogue.choose(client, source, moment)
            for line in warehouse.plan(settings, entry):
                typer.echo(line)
            if not dry_run:
                done = warehouse.restore(settings, entry, is_replace=replace)
                typer.echo(
                    f"restored {done.rows:,} rows in {done.restore_seconds:.1f} s, compared every "
                    f"value in {done.check_seconds:.1f} s"
                )


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("such as 2026-11-21T07:30", param_hint="--to") from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed


def _embedded() -> Stack:
    """Return the embedded stack with the store of backups serving, whatever else was lost."""
    from millrace.stack.stack import Stack

    stack = Stack(with_airflow=False)
    if stack.servers and not stack.supervisor.is_running():
        stack.configure()
    for name in ("s3", "backup_gateway"):
        _see_to(stack, name)
    return stack


def _see_to(stack: Stack, name: str) -> None:
    """Have an embedded server serve, on an empty folder where its own is gone."""
    if name not in stack.servers:
        return  # it is a server elsewhere
    try:
        stack.check(name)
    except Exception:  # each client has its own; whatever it is, the server does not serve
        stack.stop(name)
        stack.servers[name].directory.mkdir(parents=True, exist_ok=True)
        stack.start(name)
        stack.wait_healthy(name)


def _restore_metadata(
    stack: Stack, base: Base, moment: datetime | None, data: Path | None, *, is_replace: bool
) -> None:
    """Lay the cluster into ``data``, or into the embedded server's place and start that."""
    from millrace.backups import metadata, wal
    from millrace.backups.gateway import BackupError

    settings = stack.settings
    if data is not None:
        metadata.restore(settings, data, base, moment)
        typer.echo(
            f"start PostgreSQL on {data}; it recovers, then serves, and "
            f"{metadata.wal_folder(data)} can be deleted"
        )
        return
    if "postgres" not in stack.servers:
        raise BackupError(
            "PostgreSQL is a server elsewhere: give an empty folder there with --data"
        )
    place = settings.home / "postgres" / "data"
    if place.exists() and any(place.iterdir()) and not is_replace:
        raise BackupError(f"{place} holds a cluster; --replace moves it aside")
    for name in ("wal_archiver", "postgres"):
        stack.stop(name)
    wal.take_spool(settings)
    if place.exists():
        place.rename(place.with_name(f"data.before-{datetime.now(UTC):%Y%m%dT%H%M%S}"))
    metadata.restore(settings, place, base, moment)
    stack.start("postgres")
    stack.wait_healthy("postgres", timeout=metadata.START_SECONDS)
    shutil.rmtree(metadata.wal_folder(place))
    stack.start("wal_archiver")
    typer.echo("PostgreSQL serves")
