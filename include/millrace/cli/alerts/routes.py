"""``./millrace alerts routes``: where alerts go."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from millrace.cli import listing
from millrace.cli.alerts.common import app, connect
from millrace.cli.errors import NO, fail
from millrace.settings import Settings

routes_app = typer.Typer(help="Routes: where alerts go.", no_args_is_help=True)
app.add_typer(routes_app, name="routes")

Name = Annotated[str, typer.Argument(help="Name of the route.")]
SENT_SECONDS = 150
"""Within which a run of check_alerts has taken a notification up."""


@routes_app.command("list")
def list_(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show every route: its channel or address, its Airflow connection, whether it is on."""
    from millrace.alerts import repository

    with connect() as connection:
        routes = repository.load_routes(connection)
    rows = [
        {
            "route": route.name,
            "kind": route.kind,
            "is_on": route.is_active,
            "connection": route.connection_id,
            "config": route.config,
            "group_by": route.group_by,
            "repeat_interval_seconds": route.repeat_interval_seconds,
        }
        for route in routes
    ]
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


@routes_app.command("set")
def set_(
    name: Name,
    kind: Annotated[
        str | None, typer.Option(help="slack, pagerduty, webhook or email, of a new route.")
    ] = None,
    connection_id: Annotated[
        str | None, typer.Option("--connection", help="Airflow connection with the secret.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Slack channel, such as #alerts.")] = None,
    to: Annotated[str | None, typer.Option(help="E-mail address.")] = None,
    path: Annotated[str | None, typer.Option(help="Path that a webhook is posted to.")] = None,
    group_by: Annotated[
        list[str] | None, typer.Option(help="Label; alerts that share it are told together.")
    ] = None,
    repeat: Annotated[str | None, typer.Option(help="Remind after so long, such as 4h.")] = None,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Switch it on or off.")] = None,
) -> None:
    """Change a route, or make one; what is not named stays."""
    from millrace.alerts import routing, rules
    from millrace.contract.errors import RuleError

    config = {"channel": channel, "to": to, "path": path}
    try:
        wanted = routing.Change(
            kind=kind,
            connection_id=connection_id,
            config={key: value for key, value in config.items() if value is not None},
            group_by=group_by or None,
            repeat_interval_seconds=rules.seconds("repeat", repeat) if repeat else None,
            is_active=on,
        )
        with connect() as connection:
            made = routing.change(connection, name, wanted)
    except RuleError as error:
        raise fail(error) from None
    where = listing.cell(made.config) or "as its connection says"
    typer.echo(
        f"route {name} ({made.kind}, {where}) is {'on' if made.is_active else 'off'}; "
        f"it uses the Airflow connection {made.connection_id}"
    )


@routes_app.command("test")
def try_out(
    name: Name,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the outcome.")] = SENT_SECONDS,
) -> None:
    """Send a test alert and its end through a route, and say what became of them.

    Exits with 1 if the channel did not take them.
    """
    from millrace import waiting
    from millrace.alerts import routing
    from millrace.contract.errors import RuleError

    with connect() as connection:
        try:
            at = routing.send_test(Settings(), connection, name)
        except RuleError as error:
            raise fail(error) from None

        def settled() -> list[dict[str, Any]]:
            found = routing.test_outcome(connection, name, at)
            is_tried = all(row["state"] != "waiting" for row in found) or any(
                row["attempts"] and row["last_error"] for row in found
            )
            return found if is_tried else []

        waiting.poll(settled, seconds=wait, every=1)
        found = routing.test_outcome(connection, name, at)
    for row in found:
        reason = f": {row['last_error']}" if row["last_error"] else ""
        typer.echo(f"{row['event']}: {row['state']}{reason}")
    if not all(row["state"] == "sent" for row in found):
        if not any(row["attempts"] for row in found):
            typer.echo("Nothing has tried to send it yet; is check_alerts on? ./millrace status")
        raise typer.Exit(NO)
