"""``./millrace rules``: see, add, try out and switch the rules at the gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millrace.cli.errors import fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from millrace.rules.gate import KeptGate
    from millrace.rules.store import Connection

app = typer.Typer(
    help="Rules at the gate: validation, transformation, aggregation.", no_args_is_help=True
)

Source = Annotated[str, typer.Option("--source", help="Source whose gate is meant.")]


def _change(work: Callable[[Connection], None]) -> None:
    """Make a change and compile the gates in one transaction: a bad rule leaves no trace."""
    from millrace.contract.errors import RuleError
    from millrace.settings import Settings
    from millrace.usecases import gates

    try:
        made = gates.change(Settings(), work)
    except RuleError as error:
        raise fail(error) from error
    _show(made)


def _show(gates: list[KeptGate]) -> None:
    for made in gates:
        typer.echo(f"source {made.source_id}: gate {made.gate_id} in force")


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
    _change(lambda connection: None)


@app.command("list")
def list_() -> None:
    """Show every rule."""
    from rich.console import Console
    from rich.table import Table

    from millrace.rules import store
    from millrace.settings import Settings
    from millrace.stores import postgres

    table = Table("name", "what", "source", "event type", "mode", "priority", "version", "config")
    with postgres.connect(Settings()) as connection:
        for rule, active in store.all_rules(connection):
            rest = {k: v for k, v in rule.config.items() if v != rule.kind}
            table.add_row(
                rule.name,
                rule.kind,
                rule.source_id or "all",
                rule.event_type or "all",
                rule.mode if active else "off",
                str(rule.priority),
                str(rule.version),
                str(rest),
            )
    Console().print(table)


def _read(path: Path) -> list[Any]:
    import yaml

    from millrace.contract.errors import RuleError

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise fail(RuleError(f"{path}: {error}")) from error
    entries = loaded if isinstance(loaded, list) else [loaded]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise fail(RuleError(f"{path}: entry {number} is no rule, which is a mapping"))
    return entries


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="Rules as YAML or JSON; '-' reads stdin.")],
) -> None:
    """Add rules from a file, or change those of the same name. A bad rule is refused whole."""
    from millrace.contract.errors import RuleError
    from millrace.rules import store
    from millrace.rules.model import Rule

    try:
        rules = [Rule(**entry) for entry in _read(Path("/dev/stdin") if str(file) == "-" else file)]
    except TypeError as error:
        raise fail(RuleError(f"{file}: {error}")) from error

    def work(connection: Connection) -> None:
        for rule in rules:
            store.put_rule(connection, rule)

    _change(work)


@app.command()
def remove(name: str) -> None:
    """Delete a rule (audit_logs keeps it)."""
    from millrace.rules import store

    _change(lambda connection: store.remove_rule(connection, name))


@app.command()
def enable(name: str) -> None:
    """Switch a rule on, in its mode."""
    from millrace.rules import store

    _change(lambda connection: store.set_column(connection, name, "is_active", True))


@app.command()
def disable(name: str) -> None:
    """Switch a rule off."""
    from millrace.rules import store

    _change(lambda connection: store.set_column(connection, name, "is_active", False))


@app.command()
def mode(name: str, mode: Annotated[str, typer.Argument(help="enforce, warn or shadow")]) -> None:
    """Set how a rule acts: enforce rejects, warn flags, shadow only counts."""
    from millrace.rules import store
    from millrace.rules.model import validate

    def work(connection: Connection) -> None:
        from dataclasses import replace

        validate(replace(store.find_rule(connection, name), mode=mode))
        store.set_column(connection, name, "mode", mode)

    _change(work)


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


@app.command("register-event-type")
def register_event_type(
    event_type: str,
    description: Annotated[str, typer.Option(help="What it means.")] = "",
) -> None:
    """Register an event type, so that its events pass."""
    from millrace.rules import store

    text = description or f"Registered as {event_type}."
    _change(lambda connection: store.register_event_type(connection, event_type, text))


@app.command("dry-run")
def dry_run(
    name: Annotated[str, typer.Argument(help="A stored rule, active or not.")],
    hours: Annotated[float, typer.Option(help="How far back, by arrival.")] = 24,
    source: Source = "events",
) -> None:
    """Say what a rule would have hit among the messages of the last hours, with 20 of them."""
    from datetime import UTC, datetime, timedelta

    from millrace.contract.errors import RuleError
    from millrace.rules import gate, store, trial
    from millrace.settings import Settings
    from millrace.stores import clickhouse, postgres

    settings, now = Settings(), datetime.now(UTC)
    with (
        clickhouse.connect(settings, "loader") as client,
        postgres.connect(settings) as connection,
    ):
        try:
            rule = store.find_rule(connection, name)
            rules = store.rules_of(connection, source)
            around = gate.surroundings(connection, settings, source)
            start = now - timedelta(hours=hours)
            found = trial.dry_run(client, rules, rule, around, source, start, now)
        except RuleError as error:
            raise fail(error) from error
    typer.echo(f"{name} would have hit {found.hits} of {found.judged} events that else passed")
    for example in found.examples:
        typer.echo(f"  {example}")


@app.command("baselines")
def baselines() -> None:
    """Compute what is usual for outlier rules anew, and compile the gates with it."""
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
) -> None:
    """List event types and fields that came without being registered, or register one."""
    from millrace.rules import drift as drifts
    from millrace.settings import Settings
    from millrace.stores import postgres

    if register:
        _change(lambda connection: drifts.register(connection, register))
        return
    with postgres.connect(Settings()) as connection:
        for row in drifts.open_drifts(connection):
            typer.echo(
                f"{row['drift_id']}: {row['kind']} {row['event_type']} {row['field']} "
                f"{row['value_type']}, e.g. {row['examples'][:1]}"
            )
