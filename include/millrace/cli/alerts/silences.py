"""``./millrace alerts silence | maintenance``: what is not to be notified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli import listing
from millrace.cli.alerts.common import Author, app, connect, moment_of
from millrace.cli.errors import fail

if TYPE_CHECKING:
    from millrace.alerts.silences import Mute

silence_app = typer.Typer(help="Silences, which have an end and an author.", no_args_is_help=True)
app.add_typer(silence_app, name="silence")

Matchers = Annotated[
    list[str], typer.Argument(help='Such as alertname="traffic_drop" or severity=~"info|warning".')
]


def _mute(matchers: list[str], start: str | None, lasts: str, by: str, comment: str) -> Mute:
    from millrace.alerts import silences
    from millrace.stores import postgres

    try:
        lasting = silences.duration(lasts)
    except ValueError as error:
        raise fail(error) from error
    author = by or postgres.login()
    return silences.Mute(matchers, moment_of(start), lasting, author, comment)


@silence_app.command("add")
def add_silence(
    matchers: Matchers,
    lasts: Annotated[str, typer.Option("--for", help="How long, such as 2h.")],
    comment: Annotated[str, typer.Option(help="Why.")],
    by: Author = "",
    start: Annotated[str | None, typer.Option("--from", help="Start; now if left out.")] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also where no alert could fit by now.")
    ] = False,
) -> None:
    """Silence alerts that fit every matcher."""
    from millrace.alerts import overview, silences
    from millrace.settings import Settings

    mute = _mute(matchers, start, lasts, by, comment)
    metrics = overview.published_metrics(Settings())
    with connect(mute.author) as connection:
        try:
            if not anyway:
                silences.check_sense(connection, mute.matchers, metrics)
            number = silences.add(connection, mute)
        except ValueError as error:
            raise fail(error) from error
    typer.echo(f"silence {number} until {mute.starts_at + mute.lasts:%Y-%m-%d %H:%M} UTC")


@silence_app.command("list")
def list_silences(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show silences that have not ended, and maintenance windows."""
    from millrace.alerts import silences

    with connect() as connection:
        found, windows = silences.present(connection)
    rows = [
        {
            "silence": str(row["silence_id"]),
            "matchers": row["matchers"],
            "from": row["starts_at"],
            "until": row["ends_at"],
            "author": row["author"],
            "comment": row["comment"],
        }
        for row in found
    ]
    rows += [
        {
            "silence": row["name"],
            "matchers": row["matchers"],
            "from": row["starts_at"],
            "until": f"for {row['duration']}, every {row['every']}",
            "author": row["author"],
            "comment": row["comment"],
        }
        for row in windows
    ]
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


@silence_app.command("end")
def end_silence(
    name: Annotated[str, typer.Argument(help="Number of a silence, or name of a window.")],
) -> None:
    """End a silence now, or remove a maintenance window."""
    from millrace.alerts import silences

    with connect() as connection:
        if not silences.end(connection, name):
            raise fail(f"there is no silence or window {name} that has not ended")
    typer.echo(f"{name} ended")


@app.command()
def maintenance(
    name: Annotated[str, typer.Argument(help="Name of the window.")],
    matchers: Matchers,
    start: Annotated[str, typer.Option("--from", help="First start, such as 2024-01-07T02:00.")],
    lasts: Annotated[str, typer.Option("--for", help="How long, such as 1h.")],
    every: Annotated[str, typer.Option(help="once, day or week.")] = "once",
    by: Author = "",
    comment: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Plan a maintenance window: a silence that comes again every day or week (UTC)."""
    from millrace.alerts import silences

    mute = _mute(matchers, start, lasts, by, comment)
    with connect(mute.author) as connection:
        try:
            silences.plan_window(connection, name, mute, every)
        except ValueError as error:
            raise fail(error) from error
    typer.echo(f"window {name} saved")
