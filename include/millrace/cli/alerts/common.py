"""What the commands of ``./millrace alerts`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from millrace.cli.errors import fail
from millrace.contract.visible import visible

if TYPE_CHECKING:
    from datetime import datetime

    from millrace.alerts.model import Rule
    from millrace.alerts.repository import Connection

app = typer.Typer(help="Alerts: rules in PromQL, their states, silences.", no_args_is_help=True)

STATES = ("inactive", "pending", "firing")

Name = Annotated[str, typer.Argument(help="Name of the rule.")]
Author = Annotated[str, typer.Option(help="Who asks for it.", show_default="you")]


def connect(actor: str | None = None) -> Connection:
    """Open a connection whose changes are audited as the actor's, or the caller's."""
    from millrace.alerts import repository
    from millrace.settings import Settings
    from millrace.stores import postgres

    connection = postgres.connect(Settings())
    repository.act_as(connection, actor or postgres.login())
    return connection


def find_rule(connection: Connection, name: str) -> Rule:
    """Return a rule by its name; ends the command where there is none."""
    from millrace.alerts import rules
    from millrace.contract.errors import RuleError

    try:
        return rules.find(connection, name)
    except RuleError as error:
        raise fail(error) from None


def print_table(*columns: str, rows: list[list[Any]], title: str | None = None) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*("" if cell is None else Text(visible(str(cell))) for cell in row))
    Console().print(table)


def moment_of(text: str | None) -> datetime:
    """Read ``2024-01-01T12:00`` (UTC unless it says otherwise) or ``-2h``; none is now."""
    from datetime import UTC, datetime, timedelta

    from millrace.alerts import rules

    now = datetime.now(UTC)
    if text is None:
        return now
    try:
        if text.startswith("-"):
            return now - timedelta(seconds=rules.seconds("time", text[1:]))
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise fail(f"{text!r} is no time; write 2024-01-01T12:00 (UTC) or -2h") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def shown_labels(labels: dict[str, str]) -> str:
    """Return labels as people read them, without those that the rule has anyway."""
    hidden = ("alertname", "severity", "owner", "__name__")
    return ", ".join(f"{k}={v}" for k, v in sorted(labels.items()) if k not in hidden)
