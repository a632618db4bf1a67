"""``./millrace tokens``: with what programs ask the query API."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.access.roles import Role
from millrace.cli import expiry, listing
from millrace.cli.errors import fail

app = typer.Typer(help="Tokens that programs ask the query API with.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the token.")]


@app.command("list")
def list_(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show every token, what it may do, and when it was used; never its secret."""
    from millrace.access import tokens
    from millrace.settings import Settings
    from millrace.stores import postgres

    with postgres.connect(Settings()) as connection:
        rows = tokens.overview(connection)
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


@app.command()
def add(
    name: Name,
    role: Annotated[
        Role, typer.Option(help="viewer (numbers), analyst (events too), operator (jobs), admin.")
    ],
    source: Annotated[
        list[str] | None,
        typer.Option(help="Source whose numbers it may see; default all. More than one may be."),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="Dataset that it may see; default all. More than one may be."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it runs out: 90d, 12h, or 2027-01-31 (UTC).")
    ] = None,
) -> None:
    """Make a token and print it, alone and only now: nothing but its SHA-256 is kept."""
    from millrace.access import tokens
    from millrace.settings import Settings
    from millrace.stores import postgres

    new = tokens.NewToken(
        name, role, source or None, dataset or None, expiry.read(expires) if expires else None
    )
    with postgres.connect(Settings()) as connection:
        try:
            text = tokens.add(connection, new)
        except tokens.AccessError as error:
            raise fail(error) from None
    typer.echo(text)
    typer.echo(f"Token {name} works within 5 s. It is shown only now.", err=True)


@app.command()
def revoke(name: Name) -> None:
    """Let nobody in with a token any more, within 5 s and everywhere."""
    from millrace.access import tokens
    from millrace.settings import Settings
    from millrace.stores import postgres

    with postgres.connect(Settings()) as connection:
        try:
            tokens.revoke(connection, name)
        except tokens.AccessError as error:
            raise fail(error) from None
    typer.echo(f"token {name} is revoked")
