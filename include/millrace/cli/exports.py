"""``./millrace exports``: what is exported, what was, and doing it by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli import listing
from millrace.cli.errors import fail

app = typer.Typer(help="Exports to object storage.", no_args_is_help=True)


@app.command("list")
def list_definitions(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show every export with its last window; `due` says which windows wait, and why."""
    from millrace.exports import definitions
    from millrace.settings import Settings
    from millrace.stores import postgres

    with postgres.connect(Settings()) as connection:
        rows = definitions.overview(connection)
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


@app.command()
def apply() -> None:
    """Bring the definitions into line with include/seeds/exports.yaml."""
    from millrace.exports import definitions
    from millrace.exports.definitions import ExportError
    from millrace.settings import Settings

    try:
        names = definitions.apply(Settings())
    except ExportError as error:
        raise fail(error) from error
    for name in names:
        typer.echo(name)


@app.command()
def due(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show the windows that the next run of export_events exports, and why."""
    from millrace.exports import service
    from millrace.settings import Settings

    rows = [
        {name: window[name] for name in ("name", "start", "cause")}
        for window in service.due(Settings())
    ]
    listing.show(rows, title="windows that are due", as_json=as_json, as_yaml=as_yaml)


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of an export.")],
    start: Annotated[str, typer.Argument(help="Start of the window, such as 2026-11-21T07:00.")],
) -> None:
    """Export one window now, in place of what is published for it."""
    from millrace.exports import definitions, service
    from millrace.exports.definitions import ExportError
    from millrace.settings import Settings
    from millrace.stores import postgres

    settings = Settings()
    try:
        with postgres.connect(settings) as connection:
            (definition,) = definitions.read(connection, name)
        end = service.moment(start) + definition.window
        window = {"name": name, "start": start, "end": end.isoformat()}
        made = service.export(settings, window, requested_by="command line")
    except ExportError as error:
        raise fail(error) from error
    typer.echo(f"{made['rows']:,} rows in {made['files']} files below {made['prefix']}")


@app.command()
def grant(
    user: Annotated[str, typer.Argument(help="Name as Airflow knows it.")],
    personal_data: Annotated[str, typer.Argument(help="excluded, hashed or plain.")],
) -> None:
    """Let a person have personal data in exports on demand."""
    from millrace.exports import definitions
    from millrace.exports.definitions import PersonalData
    from millrace.settings import Settings

    try:
        treatment = PersonalData(personal_data)
    except ValueError:
        raise typer.BadParameter("one of excluded, hashed, plain") from None
    definitions.grant(Settings(), user, treatment)
