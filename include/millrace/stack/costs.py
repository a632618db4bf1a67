"""What ``./millrace status --slow`` shows: which statements and tasks cost ClickHouse the most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from millrace.contract.visible import visible
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

MOST = 15
"""Rows of each table."""
WHOLE = 500
"""Characters that the longest line takes."""


def tables(settings: Settings) -> list[Table]:
    """Return the slowest statements and the dearest tasks of the last hour, from the query log."""
    with clickhouse.connect(settings, "operator") as client:
        client.command("SYSTEM FLUSH LOGS")
        statements, tasks = (
            client.query(
                sql.render(f"clickhouse/stack/{name}.sql"), parameters={"limit": MOST}
            ).result_rows
            for name in ("slow_statements", "task_costs")
        )
    return [
        _table(
            "Statements of the last hour, the longest in all first",
            (
                "account", "task", "runs", "median ms", "slowest ms", "all s", "CPU s",
                "rows read", "MiB", "statement",
            ),
            statements,
        ),
        _table(
            "Airflow tasks of the last hour, the dearest first",
            (
                "task", "account", "statements", "all s", "CPU s", "rows read", "rows written",
                "MiB",
            ),
            tasks,
        ),
    ]  # fmt: skip


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    for name in columns:
        is_text = name in ("account", "task", "statement")
        # A number is read whole or it misleads; a terminal cuts the statement, a pipe nothing.
        shortest = None if name == "statement" else len(name)
        table.add_column(
            name,
            justify="left" if is_text else "right",
            no_wrap=True,
            overflow="ellipsis",
            min_width=shortest,
            ratio=1 if name == "statement" else None,
        )
    for row in rows:
        table.add_row(*(Text(visible(_cell(*named))) for named in zip(columns, row, strict=True)))
    return table


def _cell(column: str, value: Any) -> str:
    if column == "MiB":
        return f"{value / 2**20:,.0f}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
