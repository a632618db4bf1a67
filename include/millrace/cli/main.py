"""The command line: ``./millrace --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from millrace.cli import (
    alerts,
    backups,
    dbt,
    event_types,
    exports,
    ingest,
    keys,
    quality,
    rules,
    sources,
    stack,
    tokens,
    tools,
    users,
)
from millrace.cli.chaos import chaos
from millrace.cli.errors import INTERRUPTED
from millrace.cli.generate import generate
from millrace.cli.imports import import_file
from millrace.cli.send import send
from millrace.cli.simulate import simulate
from millrace.cli.sql import sql
from millrace.cli.tail import tail
from millrace.cli.verify import verify
from millrace.contract.visible import visible
from millrace.settings import Settings


class _Commands(TyperGroup):
    """All commands: one that is interrupted says so in a line, wherever it was."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo(
                "\nInterrupted. What was done stays; run the same command to go on or start over.",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="millrace",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Event analytics with proofs: Kafka to ClickHouse exactly once, rollups in dbt.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold passwords
)


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"Millrace {metadata.version('millrace')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which it is.")
    ] = False,
) -> None:
    """Refuse settings that nobody would read."""
    if said := Settings.strangers():
        typer.secho("\n".join(said), fg="red", err=True)
        raise typer.Exit(2)


stack.register(app)
app.command()(sql)
app.command()(send)
app.command()(tail)
app.add_typer(rules.app, name="rules")
app.add_typer(event_types.app, name="event-types")
app.add_typer(sources.app, name="sources")
app.add_typer(keys.app, name="keys")
app.add_typer(tokens.app, name="tokens")
app.add_typer(users.app, name="users")
app.add_typer(quality.app, name="quality")
app.add_typer(alerts.app, name="alerts")
app.command()(simulate)
app.command("import")(import_file)
app.command()(verify)
app.command()(chaos)
app.command()(generate)
app.add_typer(exports.app, name="exports")
app.command(context_settings=tools.PASS_THROUGH)(tools.bench)
app.command(context_settings=tools.PASS_THROUGH)(tools.airflow)
app.command(name="dbt", context_settings=dbt.PASS_THROUGH)(dbt.command)
app.add_typer(ingest.app, name="ingest")
app.add_typer(backups.app, name="backups")
app.command()(backups.restore)
app.command()(backups.erase)


def start() -> None:
    """Run the command that this process was called with: the program ``millrace``."""
    run(sys.argv[1:])


def run(arguments: Sequence[str]) -> None:
    """Run a command and exit as ``millrace.cli.errors`` says; a programming error is raised."""
    from millrace.cli.errors import ERROR, sentences

    try:
        app(list(arguments), prog_name="./millrace")
    except Exception as error:
        told = sentences(error)
        if not told:
            raise
        typer.echo(visible("millrace: " + "\n  ".join(told)), err=True)
        sys.exit(ERROR)
