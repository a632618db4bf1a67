"""``./millrace alerts history | outbox | ack``: what happened, and that somebody sees to it."""

from __future__ import annotations

import getpass
from math import isnan
from typing import Annotated

import typer

from millrace.cli.alerts.common import (
    Author,
    Name,
    app,
    connect,
    find_rule,
    moment_of,
    print_table,
    shown_labels,
)
from millrace.cli.errors import fail


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(help="Name of a rule; all if left out.")] = None,
    since: Annotated[str, typer.Option(help="How far back, such as -24h.")] = "-24h",
    results: Annotated[bool, typer.Option(help="Every result, not only changes.")] = False,
) -> None:
    """Show when alerts changed state, or every evaluation of a rule."""
    from millrace.alerts.templates import humanize
    from millrace.settings import Settings
    from millrace.stores import clickhouse, sql

    start = moment_of(since)
    if results:
        with clickhouse.connect(Settings(), "alerts") as client:
            answer = client.query(
                sql.render("clickhouse/alerts/last_evaluations.sql"),
                parameters={"since": start, "name": name or ""},
            )
        print_table(
            "time (UTC)", "rule", "labels", "status", "value", "detail",
            rows=[[a, n, shown_labels(lb), s, "" if isnan(v) else humanize(v), d]
                  for a, n, lb, s, v, d in answer.result_rows],
        )  # fmt: skip
        return
    with connect() as connection:
        found = connection.execute(
            sql.render("postgres/alerts/transitions.sql"), {"since": start, "name": name}
        ).fetchall()
    print_table(
        "time (UTC)", "rule", "from", "to", "labels", "value",
        rows=[[f"{r['evaluated_at']:%Y-%m-%d %H:%M}", r["rule_name"], r["from_state"],
               r["to_state"], shown_labels(r["labels"]), humanize(r["value"])] for r in found],
    )  # fmt: skip


@app.command()
def outbox(
    since: Annotated[str, typer.Option(help="How far back, such as -24h.")] = "-24h",
) -> None:
    """Show the notifications: sent, waiting, and why they wait."""
    from millrace.stores import sql

    with connect() as connection:
        found = connection.execute(
            sql.render("postgres/alerts/outbox.sql"), {"since": moment_of(since)}
        ).fetchall()
    print_table(
        "made (UTC)", "route", "event", "incident", "state", "attempts", "last error",
        rows=[[f"{r['created_at']:%Y-%m-%d %H:%M:%S}", r["route"], r["event"], r["dedup_key"],
               r["state"], r["attempts"], r["last_error"]] for r in found],
    )  # fmt: skip


@app.command()
def ack(
    name: Name, by: Author = "", comment: Annotated[str, typer.Option(help="What you know.")] = ""
) -> None:
    """Acknowledge a firing rule: PagerDuty is told, and reminders stop until it resolves."""
    from millrace.alerts import acknowledgement

    author = by or getpass.getuser()
    with connect(author) as connection:
        find_rule(connection, name)
        count = acknowledgement.acknowledge(connection, name, author, comment)
    if count == 0:
        raise fail(f"{name} has no open notification to acknowledge")
    typer.echo(f"{count} incidents acknowledged by {author}")
