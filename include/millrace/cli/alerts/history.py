"""``./millrace alerts history | outbox | ack``: what happened, and that somebody sees to it."""

from __future__ import annotations

from math import isnan
from typing import Annotated, Any

import typer

from millrace.cli import listing
from millrace.cli.alerts.common import (
    Author,
    Name,
    app,
    connect,
    find_rule,
    moment_of,
    shown_labels,
)
from millrace.cli.errors import fail


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(help="Name of a rule; all if left out.")] = None,
    since: Annotated[str, typer.Option(help="How far back, such as -24h.")] = "-24h",
    results: Annotated[bool, typer.Option(help="Every result, not only changes.")] = False,
    as_json: listing.AsJson = False,
    as_yaml: listing.AsYaml = False,
) -> None:
    """Show when alerts changed state, or every evaluation of a rule."""
    from millrace.settings import Settings
    from millrace.stores import clickhouse, sql

    start = moment_of(since)
    is_table = not (as_json or as_yaml)
    if name:
        with connect() as connection:
            find_rule(connection, name)
    if results:
        with clickhouse.connect(Settings(), "alerts") as client:
            answer = client.query(
                sql.render("clickhouse/alerts/last_evaluations.sql"),
                parameters={"since": start, "name": name or ""},
            )
        names = ("time", "rule", "labels", "status", "value", "detail")
        rows = [dict(zip(names, row, strict=True)) for row in answer.result_rows]
    else:
        with connect() as connection:
            rows = [
                {
                    "time": row["evaluated_at"],
                    "rule": row["rule_name"],
                    "from": row["from_state"],
                    "to": row["to_state"],
                    "labels": row["labels"],
                    "value": row["value"],
                }
                for row in connection.execute(
                    sql.render("postgres/alerts/transitions.sql"), {"since": start, "name": name}
                )
            ]
    listing.show(
        [_shown(row) for row in rows] if is_table else rows, as_json=as_json, as_yaml=as_yaml
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as a table has it."""
    from millrace.alerts.templates import humanize

    value = row["value"]
    is_known = value is not None and not isnan(value)
    return row | {
        "time": f"{row['time']:%Y-%m-%d %H:%M}",
        "labels": shown_labels(row["labels"]),
        "value": humanize(value) if is_known else "",
    }


@app.command()
def outbox(
    since: Annotated[str, typer.Option(help="How far back, such as -24h.")] = "-24h",
    as_json: listing.AsJson = False,
    as_yaml: listing.AsYaml = False,
) -> None:
    """Show the notifications: of which rule, to which route, and what became of each."""
    from millrace.stores import sql

    with connect() as connection:
        found = connection.execute(
            sql.render("postgres/alerts/outbox.sql"), {"since": moment_of(since)}
        ).fetchall()
    rows = [
        {
            "made_at": row["created_at"],
            "rule": _rules_of(row["content"]),
            "route": row["route"],
            "event": row["event"],
            "outcome": _outcome(row),
            "attempts": row["attempts"],
            "incident": row["dedup_key"],
        }
        for row in found
    ]
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


def _rules_of(content: dict[str, Any]) -> list[str]:
    alerts = [*content.get("firing", []), *content.get("resolved", [])]
    return sorted({alert["rule"] for alert in alerts})


def _outcome(row: dict[str, Any]) -> str:
    """Say what became of a notification, and why it waits."""
    if row["state"] == "sent":
        return f"sent {row['sent_at']:%H:%M:%S}"
    why = f": {row['last_error']}" if row["last_error"] else ""
    if row["state"] == "waiting" and row["attempts"]:
        return f"waits until {row['not_before']:%H:%M:%S}{why}"
    return f"{row['state']}{why}"


@app.command()
def ack(
    name: Name, by: Author = "", comment: Annotated[str, typer.Option(help="What you know.")] = ""
) -> None:
    """Acknowledge a firing rule: PagerDuty is told, and reminders stop until it resolves."""
    from millrace.alerts import acknowledgement
    from millrace.stores import postgres

    author = by or postgres.login()
    with connect(author) as connection:
        find_rule(connection, name)
        count = acknowledgement.acknowledge(connection, name, author, comment)
    if count == 0:
        raise fail(f"{name} has no open notification to acknowledge")
    what = "1 incident" if count == 1 else f"{count} incidents"
    typer.echo(f"{what} acknowledged by {author}")
