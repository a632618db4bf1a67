"""``./millrace event-types``: what events may be called."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli import listing
from millrace.cli.errors import fail

app = typer.Typer(help="Event types: what may come.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the event type.")]


@app.command("list")
def list_(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show every event type, those that are retired too."""
    from millrace.rules import event_types
    from millrace.settings import Settings
    from millrace.stores import postgres

    with postgres.connect(Settings()) as connection:
        listing.show(event_types.every(connection), as_json=as_json, as_yaml=as_yaml)


@app.command()
def show(name: Name) -> None:
    """Show an event type and its own rules, as YAML."""
    from millrace.contract.errors import RuleError
    from millrace.rules import event_types
    from millrace.settings import Settings
    from millrace.stores import postgres

    with postgres.connect(Settings()) as connection:
        try:
            found = event_types.find(connection, name)
        except RuleError as error:
            raise fail(error) from None
    listing.document(found, as_yaml=True)


@app.command()
def register(
    name: Name, description: Annotated[str, typer.Option(help="What it means.")] = ""
) -> None:
    """Let events of a type pass, also one that was retired."""
    from millrace.cli.rules import change
    from millrace.rules import event_types, store
    from millrace.rules.store import Connection

    def work(connection: Connection) -> None:
        event_types.check_name(connection, name)
        store.register_event_type(connection, name, description or f"Registered as {name}.")

    change(work, [f"event type {name} is registered"])


@app.command()
def retire(name: Name) -> None:
    """Reject events of a type from now on, as `unknown_event_type`; those that are there stay."""
    from millrace.cli.rules import change
    from millrace.rules import event_types

    change(
        lambda connection: event_types.retire(connection, name), [f"event type {name} is retired"]
    )
