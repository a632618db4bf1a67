"""``./millrace alerts``: see, add, try out and switch rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millrace.cli import documents, listing
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
from millrace.settings import Settings

if TYPE_CHECKING:
    from datetime import datetime

    from millrace.alerts.model import Instance, Rule


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Rules that are off, too.")] = False,
    as_json: listing.AsJson = False,
    as_yaml: listing.AsYaml = False,
) -> None:
    """Show the rules, what is pending, firing or without data now, and what is held back."""
    from millrace.alerts import overview

    with connect() as connection:
        found = overview.standings(connection)
        until = overview.judged_until(connection)
    rows = [one.as_dict() for one in found if everything or one.state != "off"]
    if not (as_json or as_yaml):
        rows = [_as_read(row) for row in rows]
    title = f"judged up to {until:%Y-%m-%d %H:%M} UTC" if until else "never judged"
    listing.show(rows, title=title, as_json=as_json, as_yaml=as_yaml)


MOST_SHOWN = 3
"""Alerts of a rule that a table has one by one; the rest are counted."""


def _as_read(row: dict[str, Any]) -> dict[str, Any]:
    """Return a rule's row as a table has it: alerts with their labels and values in one cell."""
    from millrace.alerts.templates import humanize

    alerts = row["alerts"]
    texts = [
        f"{shown_labels(alert['labels'])} {humanize(alert['value'])}".strip()
        for alert in alerts
        if alert["kind"] == "condition"
    ]
    more = f", and {len(texts) - MOST_SHOWN} more" if len(texts) > MOST_SHOWN else ""
    held = sorted({alert["held_back"] for alert in alerts if alert["held_back"]})
    return row | {"alerts": "; ".join(texts[:MOST_SHOWN]) + more, "held_back": held}


@app.command()
def show(
    name: Name, sql: Annotated[bool, typer.Option("--sql", help="Print the compiled SQL.")] = False
) -> None:
    """Show a rule as YAML that `add` takes, or the statement that it is compiled to."""
    from millrace.alerts import rules
    from millrace.alerts.evaluation import statement

    with connect() as connection:
        rule = find_rule(connection, name)
    if sql:
        typer.echo(statement([rule]))
        return
    listing.document(rules.to_document(rule), as_yaml=True)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="YAML: one rule, or a list of them.")],
    hours: Annotated[
        int,
        typer.Option(min=0, max=168, help="Try rules on so many hours of the past; 0: on none."),
    ] = 24,
) -> None:
    """Add or replace rules from a YAML file; all of them or none.

    Says what changed, and how often each would have fired in the last hours.
    """
    from millrace.alerts import overview, replay, repository, rules
    from millrace.contract.errors import RuleError

    found = documents.read(file, "rule")
    metrics = overview.published_metrics(Settings())
    saved: list[Rule] = []
    with connect() as connection, connection.transaction():
        before = {rule.name: rule for rule in repository.load_rules(connection)}
        routes = [route.name for route in repository.load_routes(connection)]
        for document in found:
            try:
                rule = rules.from_document(document, {})
                rules.check(rule, routes, metrics)
            except RuleError as error:
                raise fail(f"{file}: {document.get('name', '?')}: {error}") from error
            repository.save_rule(connection, rule)
            saved.append(rule)
            _warn_of_strangers(rule)
    for rule in saved:
        typer.echo(f"rule {rule.name}: {_difference(before.get(rule.name), rule)}")
    typer.echo(f"{listing.count(len(found), 'rule')} saved; judged from the next minute on")
    for rule in saved if hours else ():
        typer.echo(f"{rule.name} {replay.of_last_hours(Settings(), rule, hours).summary}")


def _difference(before: Rule | None, after: Rule) -> str:
    from millrace.alerts import rules

    if before is None:
        return f"added ({after.severity})"
    return documents.difference(rules.to_document(before), rules.to_document(after))


def _warn_of_strangers(rule: Rule) -> None:
    """Say which of Millrace's own metrics that a rule asks for have had no sample lately."""
    from millrace.alerts import overview

    for name in overview.without_samples(Settings(), rule):
        typer.secho(
            f"{rule.name}: {name} has had no sample in the last 7 days; is its name right?",
            fg="yellow",
            err=True,
        )


@app.command()
def remove(name: Name) -> None:
    """Remove a rule; what it fires resolves within a minute."""
    from millrace.alerts import rules
    from millrace.contract.errors import RuleError

    try:
        with connect() as connection:
            rules.remove(connection, name)
    except RuleError as error:
        raise fail(error) from None
    typer.echo(f"{name} removed")


@app.command()
def enable(name: Name) -> None:
    """Switch a rule on."""
    _switch(name, on=True)


@app.command()
def disable(name: Name) -> None:
    """Switch a rule off; what it fires resolves."""
    _switch(name, on=False)


def _switch(name: str, *, on: bool) -> None:
    from millrace.alerts import rules
    from millrace.contract.errors import RuleError

    try:
        with connect() as connection:
            rules.switch(connection, name, on=on)
    except RuleError as error:
        raise fail(error) from None
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
        many = listing.count(len(names), "rule")
        typer.echo(f"{many} {what}{': ' if names else ''}{', '.join(names)}")


@app.command("test")
def replay_rule(
    name: Name,
    at: Annotated[
        str | None, typer.Option(help="The state at a time, such as -10m, from six hours before.")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="First minute to replay.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last minute; now if left out.")] = None,
    file: Annotated[Path | None, typer.Option(help="A YAML file with the rule, not saved.")] = None,
) -> None:
    """Replay a rule over the past and say when it would have fired; changes nothing."""
    from millrace.alerts import check, replay, rules
    from millrace.alerts.evaluation import Evaluator
    from millrace.alerts.templates import humanize
    from millrace.contract.errors import RuleError

    settings = Settings()
    if file is not None:
        entries = documents.read(file, "rule")
        document = next((entry for entry in entries if entry.get("name") == name), None)
        if document is None:
            raise fail(f"{file} has no rule called {name}")
        try:
            rule = rules.from_document(document, {})
            rules.check(rule, rule.routes)
        except RuleError as error:
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
    typer.echo(found.summary)
    state = max((i.state for i in found.at_end), default="inactive", key=STATES.index)
    detail = f" ({now.status}: {now.detail})" if now.detail else ""
    typer.echo(f"at {last:%Y-%m-%d %H:%M} UTC: {state}{detail}")
    if file is None and (told := replay.told_then(settings, name, last)):
        typer.echo(f"  it was judged then as {told}")
    for instance in found.at_end:
        typer.echo(
            f"  {instance.state} since {_since(instance):%Y-%m-%d %H:%M}: "
            f"{shown_labels(instance.labels) or name}, value {humanize(instance.value)}"
        )
    for minute, reason in list(found.errors.items())[:3]:
        typer.secho(f"{minute:%Y-%m-%d %H:%M}: {reason}", fg="red", err=True)


def _since(instance: Instance) -> datetime:
    return instance.fired_at or instance.active_since
