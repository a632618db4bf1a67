"""``./millrace backups`` and ``./millrace restore``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from millrace.cli import listing
from millrace.cli.errors import NO, fail

app = typer.Typer(help="Backups of warehouse and metadata.", no_args_is_help=True)


@contextmanager
def _told() -> Iterator[None]:
    """End with one sentence where something can't be done."""
    from millrace.backups.gateway import BackupError
    from millrace.exports.definitions import ExportError

    try:
        yield
    except (BackupError, ExportError) as error:
        raise fail(error) from error


@app.command("list")
def list_backups(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show what is in the bucket and can be restored."""
    from millrace.backups import catalogue, gateway, metadata
    from millrace.settings import Settings

    with _told():
        client = gateway.ensure_folders(Settings())
        entries = [catalogue.get(client, backup_id) for backup_id in catalogue.ids(client)]
        rows: list[dict[str, Any]] = [
            {
                "backup": entry.backup_id,
                "of": "warehouse",
                "state_of": entry.cut_at[:19],
                "rows": entry.rows,
                "bytes": entry.byte_count,
                "stands_on": entry.base_id,
            }
            for entry in entries
        ]
        rows += [
            {
                "backup": base.backup_id,
                "of": "metadata",
                "state_of": base.ended_at[:19],
                "rows": None,
                "bytes": base.byte_count,
                "stands_on": None,
            }
            for base in metadata.bases(client)
        ]
    if not rows and not (as_json or as_yaml):
        typer.echo("There is no backup yet; ./millrace backups run makes one.")
        return
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


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
    from millrace.settings import Settings
    from millrace.usecases import drill as drills

    with _told():
        try:
            typer.echo(drills.run(Settings()).text())
        except drills.DrillError as error:  # the answer: the backups are not good
            typer.secho(str(error), fg="red", err=True)
            raise typer.Exit(NO) from error


@app.command(hidden=True)
def gateway() -> None:
    """Serve the encrypting gateway in front of the backup bucket (runs until stopped)."""
    from millrace.backups import gateway as encrypting
    from millrace.settings import Settings

    with _told():
        encrypting.serve(Settings())


@app.command("archive-wal", hidden=True)
def archive_wal() -> None:
    """Archive PostgreSQL's write-ahead log to the bucket (runs until stopped)."""
    import logging

    from millrace.backups.archiver import Archiver
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
    from millrace.backups.gateway import BackupError
    from millrace.settings import Settings

    try:
        waited = wal.await_archived(Settings(), limit)
    except BackupError as error:  # the answer to what was asked; Docker takes 1 for unhealthy
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(NO) from error
    typer.echo(f"in the bucket {waited:.1f} s after the commit")


@app.command("resume-ingest")
def resume_ingest(
    seconds: Annotated[float, typer.Option(help="Give up after so long.")] = 600,
) -> None:
    """Load what Kafka has and a restored warehouse has not, then end."""
    from millrace.settings import Settings
    from millrace.usecases import resume_ingest as resuming

    try:
        resuming.resume(Settings(), seconds)
    except resuming.BehindError as error:
        raise fail(error) from error


@app.command("catch-up")
def catch_up() -> None:
    """After a restore by hand: erase again who was erased since; mend the exports' catalogue."""
    from millrace.settings import Settings
    from millrace.usecases import restore as restoring

    with _told():
        restoring.catch_up(Settings(), typer.echo)


@app.command(hidden=True)  # as the command was called before; it is ./millrace erase
def erase(
    user: Annotated[
        str, typer.Argument(help="Whose data is deleted: the number, or the text sent.")
    ],
    reason: Annotated[str, typer.Option(help="Kept on the receipt.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only count.")] = False,
) -> None:
    """Delete a person's data from events, raw data, archive and profiles; print the receipt."""
    import json

    from millrace.settings import Settings
    from millrace.usecases import erase_person

    settings = Settings()
    with _told():
        user_id = erase_person.user_id_of(settings, user)
        if not yes:
            typer.echo(json.dumps(erase_person.find(settings, user_id), indent=2))
            typer.echo(f"user_id {user_id}: nothing was deleted; --yes deletes")
            return
        receipt = erase_person.erase(settings, user_id, "command line", reason, user)
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
    from millrace.usecases import restore as restoring

    if only not in ("", "warehouse", "metadata"):
        raise typer.BadParameter("warehouse or metadata", param_hint="--only")
    request = restoring.Request(
        backup_id=source,
        to=_moment(to),
        only=only,
        data=data,
        is_replace=replace,
        is_dry_run=dry_run,
    )
    with _told():
        restoring.run(request, typer.echo)


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("such as 2026-11-21T07:30", param_hint="--to") from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
