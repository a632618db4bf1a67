"""``./millrace alerts``: see, add, try out and switch rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli.alerts.common import (
    STATES,
    Name,
    app,
    connect,
    find_rule,
    moment_of,
    print_table,
    shown_labels,
)
from millrace.cli.errors import fail

if TYPE_CHECKING:
    from datetime import datetime

    from millrace.alerts.model import Instance
    from millrace.alerts.rules import Metric


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Inactive rules too.")] = False,
) -> None:
    """Show the rules, and what is pending, firing or without data now."""
    from millrace.alerts import repository
    from millrace.alerts.templates import humanize

    with connect() as connection:
        rules = repository.load_rules(connection)
        instances = list(repository.load_instances(connection).values())
        clock = connection.execute("SELECT evaluated_until FROM alert_clock").fetchone()
    rows = []
    for rule in rules:
        if not rule.is_active and not everything:
            continue
        mine = [i for i in instances if i.rule_name == rule.name]
        state = max((i.state for i in mine), default="inactive", key=STATES.index)
        if not rule.is_active:
            state = "off"
        if any(i.kind == "no_data" for i in mine):
            state += ", no data"
        values = ", ".join(humanize(i.value) for i in mine if i.kind == "condition")
        rows.append([rule.name, rule.severity, state, values, ", ".join(rule.routes), rule.owner])
    title = (
        f"judged up to {clock['evaluated_until']:%Y-%m-%d %H:%M} UTC" if clock else "never judged"
    )
    print_table("rule", "severity", "state", "value", "routes", "owner", rows=rows, title=title)


@app.command()
def show(
    name: Name, sql: Annotated[bool, typer.Option("--sql", help="Print the compiled SQL.")] = False
) -> None:
    """Show a rule as YAML that `add` takes, or the statement that it is compiled to."""
    import yaml

    from millrace.alerts import rules
    from millrace.alerts.evaluation import statement

    with connect() as connection:
        rule = find_rule(connection, name)
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
    with connect() as connection, connection.transaction():
        routes = [route.name for route in repository.load_routes(connection)]
        for document in documents:
            try:
                rule = rules.from_document(document, {})
                rules.check(rule, routes, _published_metrics())
            except rules.RuleError as error:
                raise fail(f"{document.get('name', '?')}: {error}") from error
            repository.save_rule(connection, rule)
    typer.echo(f"{len(documents)} rules saved; judged from the next minute on")


def _published_metrics() -> dict[str, Metric] | None:
    """Return the published metrics by name, or None where dbt has not run yet."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    from millrace.alerts.rules import Metric
    from millrace.settings import Settings
    from millrace.stores import clickhouse

    query = "SELECT metric_name, kind, grain_seconds FROM analytics.metric_definitions"
    with clickhouse.connect(Settings(), "alerts") as client:
        try:
            answer = client.query(query)
        except DatabaseError:
            return None
    return {str(name): Metric(str(kind), int(grain)) for name, kind, grain in answer.result_rows}


@app.command()
def remove(name: Name) -> None:
    """Remove a rule; what it fires resolves within a minute."""
    with connect() as connection:
        if find_rule(connection, name).seed_digest:
            raise fail(f"{name} is built in and would come back; disable it instead")
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
    with connect() as connection:
        changed = connection.execute(
            f"UPDATE {table} SET is_active = %s WHERE name = %s",  # noqa: S608 - one of two names
            [on, name],
        )
    if changed.rowcount == 0:
        raise fail(f"no {'route' if route else 'rule'} is called {name}")
    typer.echo(f"{name} is {'on' if on else 'off'}")


@app.command()
def seed(
    reset: Annotated[
        list[str], typer.Option(help="A built-in rule that was changed here, to bring back.")
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Bring the built-in rules, routes and inhibitions up to date; keep what was changed here."""
    from millrace.alerts import rules

    with connect() as connection:
        for name in reset:
            find_rule(connection, name)
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
            raise fail(f"{file} has no rule called {name}")
        try:
            rule = rules.from_document(document, {})
            rules.check(rule, rule.routes)
        except rules.RuleError as error:
            raise fail(error) from error
    else:
        with connect() as connection:
            rule = find_rule(connection, name)
    last = check.floor_minute(moment_of(until if at is None else at))
    first = check.floor_minute(moment_of(since)) if since else last - replay.CHUNK
    if first > last:
        raise fail(f"--from {first:%Y-%m-%d %H:%M} is after {last:%Y-%m-%d %H:%M}")
    with Evaluator(settings) as evaluator:
        found = replay.replay(evaluator, rule, first, last)
        now = evaluator.evaluate([rule], last, last)[last][rule.name]
    print_table(
        "time (UTC)", "from", "to", "labels", "value",
        rows=[
            [f"{t.evaluated_at:%Y-%m-%d %H:%M}", t.from_state, t.to_state,
             shown_labels(t.instance.labels), humanize(t.instance.value)]
            for t in found.transitions
        ],
    )  # fmt: skip
    fired = sum(t.to_state == "firing" for t in found.transitions)
    typer.echo(
        f"{found.minutes} minutes judged: would have fired {fired} times, condition true in "
        f"{found.minutes_active} minutes, no data in {found.minutes_without_data}, "
        f"failed in {len(found.errors)}"
    )
    state = max((i.state for i in found.at_end), default="inactive", key=STATES.index)
    detail = f" ({now.status}: {now.detail})" if now.detail else ""
    typer.echo(f"at {last:%Y-%m-%d %H:%M} UTC: {state}{detail}")
    for instance in found.at_end:
        typer.echo(
            f"  {instance.state} since {_since(instance):%Y-%m-%d %H:%M}: "
            f"{shown_labels(instance.labels) or name}, value {humanize(instance.value)}"
        )
    for minute, reason in list(found.errors.items())[:3]:
        typer.secho(f"{minute:%Y-%m-%d %H:%M}: {reason}", fg="red", err=True)


def _since(instance: Instance) -> datetime:
    return instance.fired_at or instance.active_since
