"""``./millrace alerts``: see, add, try out, silence and acknowledge alerts."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from millrace.alerts.model import Instance, Rule
    from millrace.alerts.repository import Connection
    from millrace.alerts.rules import Metric

app = typer.Typer(help="Alerts: rules in PromQL, their states, silences.", no_args_is_help=True)
silence_app = typer.Typer(help="Silences, which have an end and an author.", no_args_is_help=True)
app.add_typer(silence_app, name="silence")

_STATES = ("inactive", "pending", "firing")

Name = Annotated[str, typer.Argument(help="Name of the rule.")]
Matchers = Annotated[
    list[str], typer.Argument(help='Such as alertname="traffic_drop" or severity=~"info|warning".')
]
Author = Annotated[str, typer.Option(help="Who asks for it.", show_default="you")]


def _fail(error: object) -> typer.Exit:
    typer.secho(str(error), fg="red", err=True)
    return typer.Exit(1)


def _connect(actor: str | None = None) -> Connection:
    from millrace.alerts import repository
    from millrace.settings import Settings
    from millrace.stores import postgres

    connection = postgres.connect(Settings())
    repository.act_as(connection, actor or getpass.getuser())
    return connection


def _rule(connection: Connection, name: str) -> Rule:
    from millrace.alerts import repository

    rules = {rule.name: rule for rule in repository.load_rules(connection)}
    if name not in rules:
        raise _fail(f"no rule is called {name} (there are: {', '.join(rules) or 'none'})")
    return rules[name]


def _print(*columns: str, rows: list[list[Any]], title: str | None = None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table)


def _moment(text: str | None) -> datetime:
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
        raise _fail(f"{text!r} is no time; write 2024-01-01T12:00 (UTC) or -2h") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Inactive rules too.")] = False,
) -> None:
    """Show the rules, and what is pending, firing or without data now."""
    from millrace.alerts import repository
    from millrace.alerts.templates import humanize

    with _connect() as connection:
        rules = repository.load_rules(connection)
        instances = list(repository.load_instances(connection).values())
        clock = connection.execute("SELECT evaluated_until FROM alert_clock").fetchone()
    rows = []
    for rule in rules:
        if not rule.is_active and not everything:
            continue
        mine = [i for i in instances if i.rule_name == rule.name]
        state = max((i.state for i in mine), default="inactive", key=_STATES.index)
        if not rule.is_active:
            state = "off"
        if any(i.kind == "no_data" for i in mine):
            state += ", no data"
        values = ", ".join(humanize(i.value) for i in mine if i.kind == "condition")
        rows.append([rule.name, rule.severity, state, values, ", ".join(rule.routes), rule.owner])
    title = (
        f"judged up to {clock['evaluated_until']:%Y-%m-%d %H:%M} UTC" if clock else "never judged"
    )
    _print("rule", "severity", "state", "value", "routes", "owner", rows=rows, title=title)


@app.command()
def show(
    name: Name, sql: Annotated[bool, typer.Option("--sql", help="Print the compiled SQL.")] = False
) -> None:
    """Show a rule as YAML that `add` takes, or the statement that it is compiled to."""
    import yaml

    from millrace.alerts import rules
    from millrace.alerts.evaluation import statement

    with _connect() as connection:
        rule = _rule(connection, name)
    if sql:
        typer.echo(statement([rule]))
        return
    typer.echo(yaml.safe_dump(rules.to_document(rule), sort_keys=False, allow_unicode=True))


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="YAML: one rule, or a list of them.", exists=True)],
) -> None:
    """Add or replace rules from a YAML file; all of them or none."""
    import yaml

    from millrace.alerts import repository, rules

    loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    documents = loaded if isinstance(loaded, list) else [loaded]
    with _connect() as connection, connection.transaction():
        routes = [route.name for route in repository.load_routes(connection)]
        for document in documents:
            try:
                rule = rules.from_document(document, {})
                rules.check(rule, routes, _published_metrics())
            except rules.RuleError as error:
                raise _fail(f"{document.get('name', '?')}: {error}") from error
            repository.save_rule(connection, rule)
    typer.echo(f"{len(documents)} rules saved; judged from the next minute on")


def _published_metrics() -> dict[str, Metric] | None:
    """Return the published metrics by name, or None where dbt has not run yet."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    from millrace.alerts.rules import Metric
    from millrace.settings import Settings
    from millrace.stores import clickhouse

    with clickhouse.connect(Settings(), "alerts") as client:
        try:
            answer = client.query(
                "SELECT metric_name, kind, grain_seconds FROM analytics.metric_definitions"
            )
        except DatabaseError:
            return None
    return {str(name): Metric(str(kind), int(grain)) for name, kind, grain in answer.result_rows}


@app.command()
def remove(name: Name) -> None:
    """Remove a rule; what it fires resolves within a minute."""
    with _connect() as connection:
        if _rule(connection, name).seed_digest:
            raise _fail(f"{name} is built in and would come back; disable it instead")
        connection.execute("DELETE FROM alert_rules WHERE name = %s", [name])
    typer.echo(f"{name} removed")


@app.command()
def enable(
    name: Name, route: Annotated[bool, typer.Option(help="A route is meant.")] = False
) -> None:
    """Switch a rule (or, with --route, a route) on."""
    _switch(name, route=route, on=True)


@app.command()
def disable(
    name: Name, route: Annotated[bool, typer.Option(help="A route is meant.")] = False
) -> None:
    """Switch a rule (or, with --route, a route) off; what it fires resolves."""
    _switch(name, route=route, on=False)


def _switch(name: str, *, route: bool, on: bool) -> None:
    table = "alert_routes" if route else "alert_rules"
    with _connect() as connection:
        changed = connection.execute(
            f"UPDATE {table} SET is_active = %s WHERE name = %s",  # noqa: S608 - one of two names
            [on, name],
        )
    if changed.rowcount == 0:
        raise _fail(f"no {'route' if route else 'rule'} is called {name}")
    typer.echo(f"{name} is {'on' if on else 'off'}")


@app.command()
def seed(
    reset: Annotated[
        list[str], typer.Option(help="A built-in rule that was changed here, to bring back.")
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Bring the built-in rules, routes and inhibitions up to date; keep what was changed here."""
    from millrace.alerts import rules

    with _connect() as connection:
        for name in reset:
            _rule(connection, name)
        seeding = rules.seed(connection, reset=reset)
    found = {"added or changed": seeding.changed, "changed here and kept": seeding.kept}
    for what, names in found.items():
        typer.echo(f"{len(names)} rules {what}{': ' if names else ''}{', '.join(names)}")


@app.command("test")
def replay_rule(
    name: Name,
    at: Annotated[
        str | None, typer.Option(help="The state at a time, such as -10m, from six hours before.")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="First minute to replay.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last minute; now if left out.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A YAML file with the rule, not saved.", exists=True)
    ] = None,
) -> None:
    """Replay a rule over the past and say when it would have fired; changes nothing."""
    import yaml

    from millrace.alerts import check, replay, rules
    from millrace.alerts.evaluation import Evaluator
    from millrace.alerts.templates import humanize
    from millrace.settings import Settings

    settings = Settings()
    if file is not None:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
        documents = loaded if isinstance(loaded, list) else [loaded]
        document = next((d for d in documents if d.get("name") == name), None)
        if document is None:
            raise _fail(f"{file} has no rule called {name}")
        try:
            rule = rules.from_document(document, {})
            rules.check(rule, rule.routes)
        except rules.RuleError as error:
            raise _fail(error) from error
    else:
        with _connect() as connection:
            rule = _rule(connection, name)
    last = check.floor_minute(_moment(until if at is None else at))
    first = check.floor_minute(_moment(since)) if since else last - replay.CHUNK
    if first > last:
        raise _fail(f"--from {first:%Y-%m-%d %H:%M} is after {last:%Y-%m-%d %H:%M}")
    with Evaluator(settings) as evaluator:
        found = replay.replay(evaluator, rule, first, last)
        now = evaluator.evaluate([rule], last, last)[last][rule.name]
    _print(
        "time (UTC)", "from", "to", "labels", "value",
        rows=[
            [f"{t.evaluated_at:%Y-%m-%d %H:%M}", t.from_state, t.to_state,
             _labels(t.instance.labels), humanize(t.instance.value)]
            for t in found.transitions
        ],
    )  # fmt: skip
    fired = sum(t.to_state == "firing" for t in found.transitions)
    typer.echo(
        f"{found.minutes} minutes judged: would have fired {fired} times, condition true in "
        f"{found.minutes_active} minutes, no data in {found.minutes_without_data}, "
        f"failed in {len(found.errors)}"
    )
    state = max((i.state for i in found.at_end), default="inactive", key=_STATES.index)
    detail = f" ({now.status}: {now.detail})" if now.detail else ""
    typer.echo(f"at {last:%Y-%m-%d %H:%M} UTC: {state}{detail}")
    for instance in found.at_end:
        typer.echo(
            f"  {instance.state} since {_since(instance):%Y-%m-%d %H:%M}: "
            f"{_labels(instance.labels) or name}, value {humanize(instance.value)}"
        )
    for minute, reason in list(found.errors.items())[:3]:
        typer.secho(f"{minute:%Y-%m-%d %H:%M}: {reason}", fg="red", err=True)


def _since(instance: Instance) -> datetime:
    return instance.fired_at or instance.active_since


def _labels(labels: dict[str, str]) -> str:
    hidden = ("alertname", "severity", "owner", "__name__")
    return ", ".join(f"{k}={v}" for k, v in sorted(labels.items()) if k not in hidden)


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(help="Name of a rule; all if left out.")] = None,
    since: Annotated[str, typer.Option(help="How far back, such as -24h.")] = "-24h",
    results: Annotated[bool, typer.Option(help="Every result, not only changes.")] = False,
) -> None:
    """Show when alerts changed state, or every evaluation of a rule."""
    from millrace.alerts.templates import humanize
    from millrace.settings import Settings
    from millrace.stores import clickhouse

    start = _moment(since)
    if results:
        client = clickhouse.connect(Settings(), "alerts")
        answer = client.query(
            "SELECT evaluated_at, rule_name, labels, status, value, detail "
            "FROM alert_evaluations FINAL WHERE evaluated_at >= {since:DateTime('UTC')} "
            "AND ({name:String} = '' OR rule_name = {name:String}) "
            "ORDER BY evaluated_at DESC, rule_name LIMIT 500",
            parameters={"since": start, "name": name or ""},
        )
        _print(
            "time (UTC)", "rule", "labels", "status", "value", "detail",
            rows=[[a, n, _labels(lb), s, humanize(v) if v == v else "", d]
                  for a, n, lb, s, v, d in answer.result_rows],
        )  # fmt: skip
        client.close()
        return
    with _connect() as connection:
        found = connection.execute(
            "SELECT * FROM alert_transitions WHERE evaluated_at >= %s "
            "AND (%s::text IS NULL OR rule_name = %s) ORDER BY evaluated_at DESC LIMIT 500",
            [start, name, name],
        ).fetchall()
    _print(
        "time (UTC)", "rule", "from", "to", "labels", "value",
        rows=[[f"{r['evaluated_at']:%Y-%m-%d %H:%M}", r["rule_name"], r["from_state"],
               r["to_state"], _labels(r["labels"]), humanize(r["value"])] for r in found],
    )  # fmt: skip


@app.command()
def outbox(
    since: Annotated[str, typer.Option(help="How far back, such as -24h.")] = "-24h",
) -> None:
    """Show the notifications: sent, waiting, and why they wait."""
    with _connect() as connection:
        found = connection.execute(
            "SELECT * FROM alert_notifications WHERE created_at >= %s OR state = 'waiting' "
            "ORDER BY notification_id DESC LIMIT 200",
            [_moment(since)],
        ).fetchall()
    _print(
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
    with _connect(author) as connection:
        _rule(connection, name)
        count = acknowledgement.acknowledge(connection, name, author, comment)
    if count == 0:
        raise _fail(f"{name} has no open notification to acknowledge")
    typer.echo(f"{count} incidents acknowledged by {author}")


@silence_app.command("add")
def add_silence(
    matchers: Matchers,
    lasts: Annotated[str, typer.Option("--for", help="How long, such as 2h.")],
    comment: Annotated[str, typer.Option(help="Why.")],
    by: Author = "",
    start: Annotated[str | None, typer.Option("--from", help="Start; now if left out.")] = None,
) -> None:
    """Silence alerts that fit every matcher."""
    from datetime import timedelta

    from millrace.alerts import matchers as label_matchers
    from millrace.alerts import rules

    try:
        label_matchers.check(matchers)
        lasting = timedelta(seconds=rules.seconds("for", lasts))
    except ValueError as error:
        raise _fail(error) from error
    begins = _moment(start)
    author = by or getpass.getuser()
    with _connect(author) as connection:
        row = connection.execute(
            "INSERT INTO alert_silences (matchers, starts_at, ends_at, author, comment) "
            "VALUES (%s, %s, %s, %s, %s) RETURNING silence_id",
            [matchers, begins, begins + lasting, author, comment],
        ).fetchone()
    assert row is not None  # noqa: S101 - INSERT … RETURNING gives a row
    typer.echo(f"silence {row['silence_id']} until {begins + lasting:%Y-%m-%d %H:%M} UTC")


@silence_app.command("list")
def list_silences() -> None:
    """Show silences that have not ended."""
    with _connect() as connection:
        found = connection.execute(
            "SELECT * FROM alert_silences WHERE ends_at > now() ORDER BY ends_at"
        ).fetchall()
        windows = connection.execute(
            "SELECT * FROM alert_maintenance_windows ORDER BY name"
        ).fetchall()
    _print(
        "silence", "matchers", "from (UTC)", "until (UTC)", "author", "comment",
        rows=[
            *([r["silence_id"], ", ".join(r["matchers"]), f"{r['starts_at']:%Y-%m-%d %H:%M}",
               f"{r['ends_at']:%Y-%m-%d %H:%M}", r["author"], r["comment"]] for r in found),
            *([r["name"], ", ".join(r["matchers"]), f"{r['starts_at']:%Y-%m-%d %H:%M}",
               f"for {r['duration']}, every {r['every']}", r["author"], r["comment"]]
              for r in windows),
        ],
    )  # fmt: skip


@silence_app.command("end")
def end_silence(
    name: Annotated[str, typer.Argument(help="Number of a silence, or name of a window.")],
) -> None:
    """End a silence now, or remove a maintenance window."""
    with _connect() as connection:
        if name.isdigit():
            changed = connection.execute(
                "UPDATE alert_silences SET ends_at = greatest(now(), starts_at + interval '1 s') "
                "WHERE silence_id = %s AND ends_at > now()",
                [int(name)],
            )
        else:
            changed = connection.execute(
                "DELETE FROM alert_maintenance_windows WHERE name = %s", [name]
            )
    if changed.rowcount == 0:
        raise _fail(f"there is no silence or window {name} that has not ended")
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
    from datetime import timedelta

    from millrace.alerts import matchers as label_matchers
    from millrace.alerts import rules

    try:
        label_matchers.check(matchers)
        lasting = timedelta(seconds=rules.seconds("for", lasts))
    except ValueError as error:
        raise _fail(error) from error
    if every not in ("once", "day", "week"):
        raise _fail(f"--every: {every!r} is not once, day or week")
    author = by or getpass.getuser()
    with _connect(author) as connection:
        connection.execute(
            "INSERT INTO alert_maintenance_windows "
            "(name, matchers, starts_at, duration, every, author, comment) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET "
            "matchers = excluded.matchers, starts_at = excluded.starts_at, "
            "duration = excluded.duration, every = excluded.every, author = excluded.author, "
            "comment = excluded.comment",
            [name, matchers, _moment(start), lasting, every, author, comment],
        )
    typer.echo(f"window {name} saved")
