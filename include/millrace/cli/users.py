"""``./millrace users``: who may sign in, and what they may."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from millrace.access.roles import Role
from millrace.cli import listing
from millrace.cli.errors import fail

app = typer.Typer(help="People who sign in at the query API.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the user, such as their mail address.")]
Source = Annotated[
    list[str] | None,
    typer.Option("--source", help="Source that they may see; default all. More than one may be."),
]
Dataset = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="Dataset that they may see; default all. More than one may be."),
]


@app.command("list")
def list_(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show every user, what they may do, and when they signed in."""
    from millrace.access import users
    from millrace.settings import Settings
    from millrace.stores import postgres

    shown = ("name", "role", "is_active", "sources", "datasets", "issuer", "signed_in_at")
    with postgres.connect(Settings()) as connection:
        rows = [{name: getattr(user, name) for name in shown} for user in users.every(connection)]
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


@app.command()
def add(
    name: Name,
    role: Annotated[
        Role, typer.Option(help="viewer (numbers), analyst (events too), operator (jobs), admin.")
    ],
    source: Source = None,
    dataset: Dataset = None,
) -> None:
    """Add a user. Asks for their password; without an answer, one is made and printed."""
    from millrace.access import users
    from millrace.access.rights import Rights
    from millrace.settings import Settings
    from millrace.stores import postgres

    given = _asked()
    with postgres.connect(Settings()) as connection:
        try:
            rights = Rights(role, source or None, dataset or None)
            password = users.add(connection, name, rights, given)
        except users.AccessError as error:
            raise fail(error) from None
    _tell(name, password, given)


@app.command()
def password(name: Name) -> None:
    """Give a user another password, asked for as `add` does; they are signed out everywhere."""
    from millrace.access import users
    from millrace.settings import Settings
    from millrace.stores import postgres

    given = _asked()
    with postgres.connect(Settings()) as connection:
        try:
            text = users.set_password(connection, name, given)
        except users.AccessError as error:
            raise fail(error) from None
    _tell(name, text, given)


@app.command()
def change(
    name: Name,
    role: Annotated[Role | None, typer.Option(help="Another role.")] = None,
    source: Source = None,
    dataset: Dataset = None,
    every: Annotated[
        bool, typer.Option("--all", help="All sources and datasets that are not named here.")
    ] = False,
) -> None:
    """Give a user another role, sources or datasets; what is not named stays."""
    from millrace.access import users
    from millrace.access.rights import Rights
    from millrace.settings import Settings
    from millrace.stores import postgres

    with postgres.connect(Settings()) as connection:
        try:
            user = users.find(connection, name)
            rights = Rights(
                role or user.role,
                source or (None if every else user.sources),
                dataset or (None if every else user.datasets),
            )
            users.change(connection, name, rights, is_active=user.is_active)
        except users.AccessError as error:
            raise fail(error) from None
    typer.echo(f"user {name} is {rights.role}")


@app.command()
def disable(name: Name) -> None:
    """Let a user in no more, within 5 s and everywhere; they stay on record."""
    _switch(name, is_active=False)


@app.command()
def enable(name: Name) -> None:
    """Let a user in again who was disabled."""
    _switch(name, is_active=True)


def _switch(name: str, *, is_active: bool) -> None:
    from millrace.access import users
    from millrace.settings import Settings
    from millrace.stores import postgres

    with postgres.connect(Settings()) as connection:
        try:
            rights = users.find(connection, name).rights
            users.change(connection, name, rights, is_active=is_active)
        except users.AccessError as error:
            raise fail(error) from None
    typer.echo(f"user {name} is {'enabled' if is_active else 'disabled'}")


def _asked() -> str | None:
    """Ask a person for a password, unseen and twice; nothing where nobody is there to answer."""
    if not sys.stdin.isatty():
        return None
    answer: str = typer.prompt(
        "Password (Enter: one is made)",
        default="",
        show_default=False,
        hide_input=True,
        confirmation_prompt=True,
        err=True,
    )
    return answer or None


def _tell(name: str, password: str, given: str | None) -> None:
    if given is None:
        typer.echo(password)
        typer.echo(f"It is the password of {name}, and is shown only now.", err=True)
    else:
        typer.echo(f"user {name} has the password that you gave", err=True)
