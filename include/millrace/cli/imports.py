"""``./millrace import``: send a file of one's own through Kafka like everything else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from millrace.cli.errors import NO, fail


def import_file(
    file: Annotated[Path, typer.Argument(help="NDJSON, CSV or TSV (each also .gz), or Parquet.")],
    mapping: Annotated[
        Path | None, typer.Option(help="Mapping file, YAML or TOML; see docs/importing.md.")
    ] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN; may be repeated.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE; may be repeated.")
    ] = None,
    hash_: Annotated[
        list[str] | None, typer.Option("--hash", help="user_id=COLUMN,COLUMN: a number of those.")
    ] = None,
    zone: Annotated[str, typer.Option(help="Time zone of times without one; default UTC.")] = "",
    shift_to: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Move times by whole days: the first row's day."),
    ] = None,
    topic: Annotated[str, typer.Option(help="Topic; default MILLRACE_EVENTS_TOPIC.")] = "",
) -> None:
    """Import a file: each row becomes an event, sent through Kafka like everything else.

    Columns that no field takes are kept in properties. Rows that can't become events are written
    to a report with their line and reason, and the command exits with 1. Importing a file twice
    counts it once; an import that was cut off goes on where it stopped.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from millrace.imports import send
    from millrace.imports.mapping import Mapping
    from millrace.settings import Settings

    settings = Settings()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        how = Mapping.build(
            mapping, maps=map_ or (), sets=set_ or (), hashes=hash_ or (), zone=zone
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("reading", total=None)

            def show(done: send.Outcome, total: int | None) -> None:
                text = f"{done.rows:,} rows, {done.bad:,} bad"
                progress.update(task, completed=done.rows, total=total, description=text)

            outcome = send.run(
                file,
                how,
                settings,
                topic=topic or settings.events_topic,
                shift_to=shift_to.date() if shift_to else None,
                on_progress=show,
            )
    except (ValueError, OSError, RuntimeError) as error:
        raise fail(f"can't import {file}: {error}") from error

    if outcome.finished_before:
        console.print(
            f"{file.name} was imported already ({outcome.rows:,} rows, done "
            f"{outcome.finished_before:%Y-%m-%d %H:%M}); nothing was sent"
        )
        return
    resumed = f" (went on after row {outcome.skipped:,})" if outcome.skipped else ""
    console.print(f"{outcome.rows:,} rows: {outcome.sent:,} sent, {outcome.bad:,} bad{resumed}")
    if outcome.report:
        console.print(f"[red]bad rows, by line and reason: {outcome.report}")
        raise typer.Exit(NO)
