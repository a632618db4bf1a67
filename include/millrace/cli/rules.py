"""``./millrace rules``: see, add, try out and switch the rules at the gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from millrace.cli import documents, listing
from millrace.cli.errors import fail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millrace.rules.gate import KeptGate
    from millrace.rules.model import Rule
    from millrace.rules.store import Connection

app = typer.Typer(
    help="Rules at the gate: validation, transformation, aggregation.", no_args_is_help=True
)

Source = Annotated[str, typer.Option("--source", help="Source whose gate is meant.")]


def change(work: Callable[[Connection], None], said: Sequence[str] = ()) -> None:
    """Make a change and compile the gates in one transaction: a bad rule leaves no trace.

    ``said`` is told once it is done, and which gates judge from now on.
    """
    from millrace.contract.errors import RuleError
    from millrace.settings import Settings
    from millrace.usecases import gates

    try:
        made = gates.change(Settings(), work)
    except RuleError as error:
        raise fail(error) from error
    for line in said:
        typer.echo(line)
    _show(made)


def _show(gates: list[KeptGate]) -> None:
    for made in gates:
        typer.echo(f"source {made.source_id} is judged by gate {made.gate_id}")


@app.command()
def seed() -> None:
    """Add the default source, event types and rules that are missing, and compile the gates."""
    from millrace.settings import Settings
    from millrace.usecases import prepare

    added, gates = prepare.seed_rules(Settings())
    for table, count in added.items():
        typer.echo(f"{table}: {count} added")
    _show(gates)


@app.command("compile")
def compile_() -> None:
    """Compile the gates again, after a change of tables or settings by other hands."""
    change(lambda connection: None)


@app.command("list")
def list_(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Show every rule, and how many messages of the last day it hit."""
    from millrace.rules import hits, store
    from millrace.settings import Settings
    from millrace.stores import postgres

    settings = Settings()
    with postgres.connect(settings) as connection:
        rules = store.all_rules(connection)
    counted = hits.of_last_day(settings)
    rows: list[dict[str, Any]] = []
    for rule, is_active in rules:
        config = {key: value for key, value in rule.config.items() if value != rule.kind}
        row = {
            "name": rule.name,
            "does": rule.kind,
            "source": rule.source_id or "all",
            "event_type": rule.event_type or "all",
            "mode": rule.mode if is_active else "off",
            "hits_in_24_h": counted.get(rule.name, 0),
            "priority": rule.priority,
            "version": rule.version,
            "config": rule.config if as_json or as_yaml else listing.inline(config),
        }
        rows.append(row)
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


@app.command()
def show(name: str) -> None:
    """Show a rule as YAML that `add` takes."""
    from millrace.contract.errors import RuleError
    from millrace.rules import store
    from millrace.settings import Settings
    from millrace.stores import postgres

    with postgres.connect(Settings()) as connection:
        try:
            rule = store.find_rule(connection, name)
        except RuleError as error:
            raise fail(error) from None
    listing.document(rule.as_document(), as_yaml=True)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="Rules as YAML or JSON; '-' reads stdin.")],
    hours: Annotated[
        float, typer.Option(help="Try validations on the messages of so many hours; 0: on none.")
    ] = 24,
) -> None:
    """Add rules from a file, or change those of the same name. A bad rule is refused whole.

    Says what changed, and how many of the last messages a validation would have hit.
    """
    from millrace.contract.errors import RuleError
    from millrace.rules import store
    from millrace.rules.model import Rule

    try:
        rules = [Rule(**entry) for entry in documents.read(file, "rule")]
    except TypeError as error:
        raise fail(RuleError(f"{file}: {error}")) from error
    said: list[str] = []

    def work(connection: Connection) -> None:
        before = {rule.name: rule for rule, _ in store.all_rules(connection)}
        for rule in rules:
            store.put_rule(connection, rule)
            said.append(f"rule {rule.name}: {_difference(before.get(rule.name), rule)}")

    change(work, said)
    for rule in rules:
        if hours and rule.rule_type == "validation":
            _try(rule.name, hours, rule.source_id or "events")


def _difference(before: Rule | None, after: Rule) -> str:
    if before is None:
        return f"added ({after.kind}, {after.mode})"
    return documents.difference(before.as_document(), after.as_document())


@app.command()
def remove(name: str) -> None:
    """Delete a rule (audit_logs keeps it)."""
    from millrace.rules import store

    change(lambda connection: store.remove_rule(connection, name), [f"rule {name} removed"])


@app.command()
def enable(name: str) -> None:
    """Switch a rule on, in its mode."""
    _set(name, "is_active", True, "on")


@app.command()
def disable(name: str) -> None:
    """Switch a rule off."""
    _set(name, "is_active", False, "off")


def _set(name: str, column: Literal["mode", "is_active"], value: object, state: str) -> None:
    from millrace.rules import store

    change(
        lambda connection: store.set_column(connection, name, column, value),
        [f"rule {name} is {state}"],
    )


@app.command()
def mode(name: str, mode: Annotated[str, typer.Argument(help="enforce, warn or shadow")]) -> None:
    """Set how a rule acts: enforce rejects, warn flags, shadow only counts."""
    _set(name, "mode", mode, f"in mode {mode}")


@app.command()
def explain(source: Source = "events") -> None:
    """Print the statement that a source's messages go through now."""
    from millrace.rules import gate
    from millrace.settings import Settings
    from millrace.stores import postgres

    with postgres.connect(Settings()) as connection:
        current = gate.current_gate(connection, source)
    if current is None:
        raise fail(ValueError(f"no gate for {source!r}; run './millrace rules seed'"))
    typer.echo(f"-- gate {current.gate_id} of source {source}")
    typer.echo(current.statement)


@app.command("dry-run")
def dry_run(
    name: Annotated[str, typer.Argument(help="A rule, stored or in --file.")],
    hours: Annotated[float, typer.Option(help="How far back, by arrival.")] = 24,
    source: Source = "events",
    file: Annotated[Path | None, typer.Option(help="Rules as YAML or JSON, not saved.")] = None,
) -> None:
    """Say what a rule would have hit among the messages of the last hours, with 20 of them."""
    rule = None if file is None else _in_file(file, name)
    for example in _try(name, hours, source, rule):
        typer.echo(f"  {listing.cell(example)}")


def _in_file(file: Path, name: str) -> Rule:
    from millrace.contract.errors import RuleError
    from millrace.rules import model

    for entry in documents.read(file, "rule"):
        if entry.get("name") == name:
            try:
                rule = model.Rule(**entry)
                model.validate(rule)
            except (TypeError, RuleError) as error:
                raise fail(f"{file}: {error}") from None
            return rule
    raise fail(f"{file} has no rule called {name}")


def _try(name: str, hours: float, source: str, rule: Rule | None = None) -> list[dict[str, Any]]:
    """Say how many messages a rule, the stored one if none, would have hit; return some."""
    from millrace.contract.errors import RuleError
    from millrace.rules import store, trial
    from millrace.settings import Settings
    from millrace.stores import postgres

    settings = Settings()
    try:
        if rule is None:
            with postgres.connect(settings) as connection:
                rule = store.find_rule(connection, name)
        found = trial.of_last_hours(settings, rule, source, hours)
    except RuleError as error:
        raise fail(error) from error
    typer.echo(
        f"{name} would have hit {found.hits:,} of {found.judged:,} events of the last {hours:g} h "
        "that else passed"
    )
    return found.examples


@app.command("baselines")
def baselines() -> None:
    """Recompute what is usual for outlier rules, and compile the gates with it."""
    from millrace.contract.errors import RuleError
    from millrace.settings import Settings
    from millrace.usecases import gates

    settings = Settings()
    try:
        names, made = gates.refresh_baselines(settings), gates.compile_all(settings)
    except RuleError as error:
        raise fail(error) from error
    for name in names:
        typer.echo(f"{name}: computed")
    _show(made)


@app.command()
def drift(
    register: Annotated[int, typer.Option(help="Number of a drift to take as it is.")] = 0,
    as_json: listing.AsJson = False,
    as_yaml: listing.AsYaml = False,
) -> None:
    """List event types and fields that came without being registered, or register one."""
    from millrace.rules import drift as drifts
    from millrace.settings import Settings
    from millrace.stores import postgres

    if register:
        change(
            lambda connection: drifts.register(connection, register), [f"drift {register} taken"]
        )
        return
    with postgres.connect(Settings()) as connection:
        rows = [dict(row) for row in drifts.open_drifts(connection)]
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)
