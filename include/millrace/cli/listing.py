"""How a command lists things: as a table for people, whole, or as JSON or YAML for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from millrace.contract.visible import visible

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
AsYaml = Annotated[bool, typer.Option("--yaml", help="As YAML.")]

WHOLE = 10_000
"""Columns of a table that nobody reads on a terminal: no cell is wrapped."""

LEAST = 12
"""Characters of a cell that are never wrapped, however narrow the terminal is."""


def show(
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str = "",
    as_json: bool = False,
    as_yaml: bool = False,
) -> None:
    """Print rows, the first column of which is a name that is never cut or wrapped.

    JSON and YAML hold the values, the table what people read of them. A table wraps its cells at
    the width of a terminal, and not at all where its output is piped.
    """
    if as_json or as_yaml:
        document(list(rows), as_yaml=as_yaml)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo(f"{title}: none" if title else "none")
        return
    table = Table(title=title or None, title_justify="left")
    needed = 1
    for number, name in enumerate(rows[0]):
        longest = max(len(cell(row[name])) for row in rows)
        least = longest if number == 0 else min(longest, LEAST)
        needed += max(least, len(name)) + 3
        is_number = all(isinstance(row[name], (int, float, type(None))) for row in rows)
        table.add_column(
            name.replace("_", " "),
            justify="right" if is_number else "left",
            overflow="fold",
            min_width=least,
            no_wrap=number == 0,
        )
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row.values()))
    console = Console(highlight=False)
    console.width = max(console.width, needed) if console.is_terminal else WHOLE
    console.print(table)


def document(value: Any, *, as_yaml: bool = False) -> None:
    """Print a value as JSON, or as YAML."""
    import json

    import yaml
    from pydantic_core import to_jsonable_python

    plain = to_jsonable_python(value)
    if as_yaml:
        typer.echo(
            yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=WHOLE), nl=False
        )
    else:
        typer.echo(json.dumps(plain, indent=2, ensure_ascii=False))


def cell(value: Any) -> str:
    """Return what people read of a value."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{visible(str(key))}={cell(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    return visible(str(value))


def count(many: int, noun: str) -> str:
    """Return a count with its noun: ``1 row``, ``2,000 rows``."""
    return f"{many:,} {noun}{'' if many == 1 else 's'}"


def inline(value: Any) -> str:
    """Return a value as YAML on one line."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=WHOLE)
    return text.removesuffix("\n...\n").strip()
