"""Documents that follow from the code, which ``./millrace generate`` writes and a test compares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

BEGIN, END = "<!-- generated: begin -->\n", "<!-- generated: end -->\n"
SETTINGS = Path("docs") / "settings.md"
COMMANDS = Path("docs") / "commands.md"
BENCHMARKS = Path("docs") / "benchmarks.md"
QUALITY = Path("docs") / "data-quality.md"
CHART = Path("docs") / "images" / "ingest.svg"

GROUPS = {
    "The stack itself": ("home", "port_base"),
    "Kafka and its topics": ("kafka_", "events_topic", "dead_letter_topic", "topic_"),
    "ClickHouse": ("clickhouse_",),
    "PostgreSQL and Redis": ("postgres_", "redis_"),
    "Object storage": ("s3_",),
    "How long things are kept": ("raw_", "events_retention", "duplicate_"),
    "Ingestion API": ("ingestion_", "ingest_key", "ingest_hash_key"),
    "Query API": ("query_", "report_", "admin_password", "oidc_", "airflow_api_", "airflow_query_"),
    "Ingest": ("ingest_", "message_"),
    "Alerts": ("alert_",),
    "Exports": ("export_",),
    "Backups and drills": ("backup_", "drill_"),
    "Analysts' sandboxes": ("sandbox_",),
    "Addresses in messages": ("airflow_", "dashboard_", "runbook_"),
}
"""Settings by what they are about: the beginnings of their names."""


MOST_NUMBERS = 8
"""Numbers of a benchmark that are shown beside its ratios."""


def generate(context: typer.Context) -> None:
    """Write the documents that follow from the code: settings, commands, fields, rules, figures."""
    from millrace.settings import of_checkout

    checkout = of_checkout("bench").parent
    for path, text in contents(context.find_root().command).items():
        file = checkout / path
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            typer.echo(f"wrote {path}")


def contents(program: Any) -> dict[Path, str]:
    """Return what each generated file holds, by its path; ``program`` is the whole command line."""
    from millrace.contract import generate as fields

    return fields.contents() | {
        SETTINGS: _between(SETTINGS, "\n".join(_settings())),
        COMMANDS: _between(COMMANDS, "\n".join(_commands(program))),
        BENCHMARKS: _between(BENCHMARKS, "\n".join(_benchmarks())),
        QUALITY: _between(QUALITY, "\n".join(_rules())),
        CHART: _chart(),
    }


def _between(path: Path, text: str) -> str:
    """Return a document with ``text`` between its two marks."""
    from millrace.settings import REPOSITORY

    before, _, rest = (REPOSITORY / path).read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{text}\n{END}{after}"


def _settings() -> Iterator[str]:
    from pydantic import SecretStr

    from millrace.settings import PREFIX, Settings

    left = dict(Settings.model_fields)
    for title, beginnings in GROUPS.items():
        yield f"## {title}"
        yield "| variable | default | meaning |"
        yield "|---|---|---|"
        for name in [name for name in left if name.startswith(beginnings)]:
            field = left.pop(name)
            value = field.default
            plain = value.get_secret_value() if isinstance(value, SecretStr) else value
            default = "`<checkout>/.millrace`" if field.default_factory else f"`{plain}`"
            cells = (f"`{PREFIX}{name.upper()}`", default.replace("``", ""), field.description)
            yield f"| {' | '.join(map(str, cells))} |"
        yield ""
    if left:
        raise ValueError(f"settings in no group: {', '.join(left)}")


def _rules() -> Iterator[str]:
    from millrace.rules.model import SCHEMA_FILE

    yield "| config | takes | what it does |"
    yield "|---|---|---|"
    for kind in json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))["oneOf"]:
        fields = dict(kind["properties"])
        (made,) = fields.keys() & {"check", "transform", "aggregate"}
        named = fields.pop(made)
        names = ", ".join(named.get("enum") or [named["const"]])
        takes = [f"`{key}`" if key in kind["required"] else f"[`{key}`]" for key in fields]
        yield f"| `{made}: {names}` | {', '.join(takes)} | {kind['description']} |"


def _commands(program: Any) -> Iterator[str]:
    yield "| command | what it does |"
    yield "|---|---|"
    yield from _lines(program, "./millrace")


def _lines(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _lines(command, f"{path} {name}")
            continue
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        shown = " ".join(
            p.name.rstrip("_").upper() if p.required else f"[{p.name.upper()}]" for p in arguments
        )
        meaning = (
            (command.help or "").strip().split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        )
        yield f"| `{path} {name}{' ' if shown else ''}{shown}` | {meaning} |"


def _benchmarks() -> Iterator[str]:
    """Yield a section a result: its conditions, its ratios, and its first numbers."""
    from millrace.settings import REPOSITORY

    for path in sorted((REPOSITORY / "bench" / "results").glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        conditions = result.pop("conditions", {})
        numbers = dict(_numbers(result))
        ratios = {name: value for name, value in numbers.items() if _is_ratio(name)}
        others = {name: value for name, value in numbers.items() if name not in ratios}
        yield f"### {path.stem}"
        if conditions:
            yield (
                f"{conditions['at'][:10]}, {conditions['cores']} cores, "
                f"{conditions['memory_gib']} GiB, load before {conditions['load_average'][0]}. "
                f"All of it: [{path.name}](../bench/results/{path.name})."
            )
        yield ""
        yield "| | |"
        yield "|---|--:|"
        for name, value in ratios.items():
            yield f"| **{name}** | {_shown(value)} |"
        for name, value in list(others.items())[:MOST_NUMBERS]:
            yield f"| {name} | {_shown(value)} |"
        yield ""


def _chart() -> str:
    """Draw how fast messages are loaded, beside Airflow's own operator in the same run."""
    from millrace.cli import drawing
    from millrace.settings import REPOSITORY

    path = REPOSITORY / "bench" / "results" / "ingest_operator.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    ours = result["millrace"]["messages_per_second"]
    bars = [drawing.Bar("Millrace", ours, f"{ours:,} a second", is_ours=True)]
    for size in (10_000, 1_000):
        other = result["operator"][f"kept, events, rollup, batches of {size}"]
        rate = other["messages_per_second"]
        name = f"Airflow's Kafka operator, batches of {size:,}"
        bars.append(drawing.Bar(name, rate, f"{rate:,} (÷ {other['millrace_ratio']})"))
    conditions = result["conditions"]
    return drawing.bars(
        "Messages kept, parsed, inserted and rolled up",
        f"{conditions['cores']} cores for everything, {conditions['at'][:10]}; Millrace also "
        "judges them and finds duplicates",
        bars,
    )


def _is_ratio(name: str) -> bool:
    return any(word in name for word in ("ratio", "against", "share", "times"))


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each number of a result with where it stands; lists of many things are left out."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = key.replace("_", " ")
            yield from _numbers(item, f"{path}, {name}" if path else name)
    elif isinstance(value, (int, float, bool)):
        yield path, value


def _shown(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) or abs(value) < 100 else f"{value:,.0f}"
