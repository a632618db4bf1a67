"""``./millrace sources``: whose events are loaded, and from which topics."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli import listing
from millrace.cli.errors import fail

app = typer.Typer(help="Sources of events: topics that are loaded.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the source.")]


@app.command("list")
def list_(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show every source; `ingest status` says how far each is read."""
    from millrace.settings import Settings
    from millrace.stores import postgres
    from millrace.usecases import sources

    with postgres.connect(Settings()) as connection:
        rows = sources.every(connection)
    if not (as_json or as_yaml):
        rows = [
            {
                name: row[name]
                for name in ("source_id", "topic", "owner", "is_active", "description")
            }
            for row in rows
        ]
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


@app.command()
def add(
    name: Name,
    topic: Annotated[str, typer.Option(help="Kafka topic; made where there is none.")],
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Of a new topic; default MILLRACE_TOPIC_PARTITIONS.")
    ] = None,
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "data-engineering",
    description: Annotated[str, typer.Option(help="What comes from it.")] = "",
) -> None:
    """Load another topic: its events come to the same tables, through a gate of its own."""
    from millrace.settings import Settings
    from millrace.stores import postgres
    from millrace.usecases import sources

    settings = Settings()
    new = sources.NewSource(name, topic, owner, description or f"Events of {topic}", partitions)
    try:
        with postgres.connect(settings) as connection:
            is_new = sources.add(connection, settings, new)
    except sources.SourceError as error:
        raise fail(error) from None
    typer.echo(f"source {name} added; topic {topic} {'was made' if is_new else 'is there already'}")
    typer.echo("Its events are loaded from the next run of ingest_events on.")


@app.command()
def enable(name: Name) -> None:
    """Load a source's events again, from where it was switched off."""
    _switch(name, is_active=True)


@app.command()
def disable(name: Name) -> None:
    """Leave a source's events in Kafka until it is switched on again."""
    _switch(name, is_active=False)


def _switch(name: str, *, is_active: bool) -> None:
    from millrace.settings import Settings
    from millrace.stores import postgres
    from millrace.usecases import sources

    settings = Settings()
    try:
        with postgres.connect(settings) as connection:
            sources.change(connection, settings, name, {"is_active": is_active})
    except sources.SourceError as error:
        raise fail(error) from None
    typer.echo(f"source {name} is {'on' if is_active else 'off'}")
