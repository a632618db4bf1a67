"""``./millrace keys``: who may send events."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli import expiry, listing
from millrace.cli.errors import fail

app = typer.Typer(help="Keys that events are sent with by HTTP and gRPC.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the key.")]


@app.command("list")
def list_(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show every key, what it may do, and what was sent with it today; never its secret."""
    from millrace.access import keys
    from millrace.settings import Settings
    from millrace.stores import postgres

    with postgres.connect(Settings()) as connection:
        rows = keys.overview(connection)
    if not (as_json or as_yaml):
        shown = ("name", "key_id", "state", "source_id", "events_today", "used_at", "expires_at")
        rows = [{name: row[name] for name in shown} for row in rows]
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


@app.command()
def add(
    name: Name,
    source: Annotated[
        str | None,
        typer.Option(
            help="Source that its events belong to; default: that of MILLRACE_EVENTS_TOPIC."
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it runs out: 90d, 12h, or 2027-01-31 (UTC).")
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin that browsers may send from; default any. More than one may be."),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, max=2**31 - 1, help="Events a second at most.")
    ] = None,
    quota: Annotated[
        int | None, typer.Option(min=1, max=2**63 - 1, help="Events a day (UTC) at most.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="ingest (send), read:live (watch what is received); default ingest."),
    ] = None,
) -> None:
    """Make a key and print it, alone and only now: nothing but its SHA-256 is kept."""
    from millrace.access import keys
    from millrace.contract import sources
    from millrace.settings import Settings
    from millrace.stores import postgres

    settings = Settings()
    with postgres.connect(settings) as connection:
        try:
            new = keys.NewKey(
                name,
                source or sources.default(connection, settings).source_id,
                tuple(scope or [keys.INGEST]),
                tuple(origin or ()),
                rate,
                quota,
                expiry.read(expires) if expires else None,
            )
            text = keys.add(connection, new)
        except (keys.AccessError, LookupError) as error:
            raise fail(error) from None
    typer.echo(text)
    typer.echo(f"Key {name} works within 5 s. It is shown only now.", err=True)


@app.command()
def rotate(
    name: Name,
    overlap: Annotated[
        float, typer.Option(min=0, help="Hours for which the old secret goes on.")
    ] = 24,
) -> None:
    """Give a key another secret and print it; the old one goes on for a while."""
    from millrace.settings import Settings
    from millrace.usecases import ingest_keys

    try:
        text, is_kept = ingest_keys.rotate(Settings(), name, overlap)
    except ingest_keys.AccessError as error:
        raise fail(error) from None
    typer.echo(text)
    typer.echo(f"The old secret of {name} goes on for {overlap:g} h.", err=True)
    if is_kept:
        typer.echo("secrets.env has the new one as MILLRACE_INGEST_KEY.", err=True)


@app.command()
def revoke(name: Name) -> None:
    """Let nothing more in with a key, within 5 s and everywhere."""
    from millrace.access import keys
    from millrace.settings import Settings
    from millrace.stores import postgres

    settings = Settings()
    with postgres.connect(settings) as connection:
        try:
            digests = keys.revoke(connection, name)
        except keys.AccessError as error:
            raise fail(error) from None
    typer.echo(f"key {name} is revoked")
    if keys.digest(settings.ingest_key.get_secret_value()) in digests:
        typer.echo("It was MILLRACE_INGEST_KEY: commands that send by HTTP need another.", err=True)
